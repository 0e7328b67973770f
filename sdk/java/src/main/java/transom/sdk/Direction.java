package transom.sdk;

/** The directions of a stream or connection. The order is that of the numbers on the wire. */
public enum Direction {
    /** From the client to the host. */
    REQUEST,
    /** From the host to the client. */
    RESPONSE
}
