package transom.sdk;

/** The answer to a part of a body. The order is that of the numbers on the wire. */
public enum DataVerdict {
    /** It goes on, with all that was kept. */
    CONTINUE,
    /** It is kept, and the next call shows it together with what has come. */
    STOP_AND_BUFFER,
    /** It is kept; at the watermark the sender is no longer read. */
    STOP,
    /** It is gone. */
    DROP
}
