package transom.sdk;

import java.util.List;

/** A mistake in a configuration. The host shows it at its line. */
public final class Fault extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final transient List<String> path;
    private final String text;

    /** A mistake at a place: the way to the value, keys and (for lists) numbers. */
    public Fault(List<String> path, String message) {
        super(path.isEmpty() ? message : String.join(".", path) + ": " + message);
        this.path = List.copyOf(path);
        this.text = message;
    }

    /** The way to the value. */
    public List<String> path() {
        return path;
    }

    /** What was expected, what is there instead, and what to do. */
    public String text() {
        return text;
    }
}
