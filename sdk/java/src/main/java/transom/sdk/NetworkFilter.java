package transom.sdk;

/** A filter of one connection. A subclass overrides the methods that it needs. */
public abstract class NetworkFilter {
    /** The connection has begun; nothing is read before this answers. */
    public NetworkVerdict newConnection(Connection connection) {
        return NetworkVerdict.CONTINUE;
    }

    /** Bytes of the client have come: {@link Connection#bytes}. */
    public NetworkVerdict clientData(Connection connection, boolean end) {
        return NetworkVerdict.CONTINUE;
    }

    /** Bytes for the client have come. */
    public NetworkVerdict hostData(Connection connection, boolean end) {
        return NetworkVerdict.CONTINUE;
    }

    /** The connection is over. */
    public void closed(Connection connection, ResetReason by) {}
}
