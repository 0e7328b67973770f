package transom.sdk;

/** Why a stream ended before its time. The order is that of the numbers on the wire. */
public enum ResetReason {
    /** The client went away. */
    DOWNSTREAM,
    /** The host ended it. */
    UPSTREAM,
    /** A filter or the proxy ended it. */
    LOCAL,
    /** Its time was over. */
    TIMEOUT
}
