package transom.sdk;

/** The answer to headers. The order is that of the numbers on the wire. */
public enum HeadersVerdict {
    /** They go on. */
    CONTINUE,
    /** They wait; body and trailers still come to this filter. */
    STOP,
    /** They go on as the whole message. */
    END_STREAM,
    /** All waits, up to the filter's limit. */
    STOP_ALL_AND_BUFFER,
    /** All waits; at the watermark the sender is no longer read. */
    STOP_ALL
}
