package transom.sdk;

/** The stream or connection ended while something of it waited. */
public final class GoneException extends RuntimeException {
    private static final long serialVersionUID = 1;

    GoneException() {
        super("the stream or connection is gone", null, false, false);
    }
}
