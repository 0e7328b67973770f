package transom.sdk;

import java.util.Map;
import transom.plugin.v1.Http.Value;

/** A stream or connection that is over. */
public final class LogEntry {
    private final Map<String, Value> values;

    LogEntry(Map<String, Value> values) {
        this.values = values;
    }

    /** An attribute that was asked for, or null: a Boolean, Long, Double, String or byte[]. */
    public Object attribute(String name) {
        Value value = values.get(name);
        return value == null ? null : Values.fromWire(value);
    }

    /** The same as text, numbers in decimal; otherwise if it was not known. */
    public String text(String name, String otherwise) {
        Object value = attribute(name);
        return value == null ? otherwise : value.toString();
    }

    /** A header that was asked for, by its name in lower case; otherwise if it was not there. */
    public String requestHeader(String name, String otherwise) {
        return header("request.headers", name, otherwise);
    }

    /** A header that was asked for, by its name in lower case; otherwise if it was not there. */
    public String responseHeader(String name, String otherwise) {
        return header("response.headers", name, otherwise);
    }

    private String header(String of, String name, String otherwise) {
        Value value = values.getOrDefault(of, Value.getDefaultInstance()).getMap().getValuesMap().get(name);
        return value == null ? otherwise : value.getText();
    }
}
