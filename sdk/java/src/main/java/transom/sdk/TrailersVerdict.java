package transom.sdk;

/** The answer to trailers. The order is that of the numbers on the wire. */
public enum TrailersVerdict {
    /** They go on. */
    CONTINUE,
    /** They wait, and the end of the message. */
    STOP
}
