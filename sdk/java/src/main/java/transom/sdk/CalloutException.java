package transom.sdk;

/** A callout was not answered. */
public final class CalloutException extends RuntimeException {
    private static final long serialVersionUID = 1;

    CalloutException(String kind) {
        super(kind);
    }

    /** NOT_ALLOWED, NO_CLUSTER, UNSUPPORTED, BAD_REQUEST, UNAVAILABLE, CALLOUT_TIMEOUT, RESET or TOO_LARGE. */
    public String kind() {
        return getMessage();
    }
}
