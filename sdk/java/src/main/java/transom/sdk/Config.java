package transom.sdk;

import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** A configuration as the host gives it. */
public final class Config {
    private final Object value;

    Config(String json) {
        this.value = json.isBlank() ? null : Json.read(json);
    }

    /** The value: maps, lists, text, {@code Long}, {@code Double}, {@code Boolean}; null for nothing at all. */
    public Object value() {
        return value;
    }

    /** Reads a map whose keys are known. Nothing at all is an empty map. */
    public Fields fields() {
        return new Fields(entries());
    }

    /** Reads a map from any key to text. */
    public Map<String, String> mapOfText() {
        Map<String, String> map = new LinkedHashMap<>();
        entries().forEach((name, value) -> map.put(name, text(name, value)));
        return map;
    }

    /** For extensions without a configuration: any key is refused. */
    public void nothing() {
        fields().finish();
    }

    @SuppressWarnings("unchecked")
    private Map<String, Object> entries() {
        if (value == null) {
            return Map.of();
        }
        if (!(value instanceof Map)) {
            throw new Fault(List.of(), "expected a map of keys to values, found " + shown(value));
        }
        return (Map<String, Object>) value;
    }

    private static String text(String name, Object value) {
        if (!(value instanceof String)) {
            throw new Fault(List.of(name), "expected text, found " + shown(value));
        }
        return (String) value;
    }

    static String shown(Object value) {
        if (value == null) {
            return "nothing";
        }
        if (value instanceof Boolean) {
            return "the boolean " + value;
        }
        if (value instanceof Number) {
            return "the number " + value;
        }
        if (value instanceof String) {
            String text = (String) value;
            return "the text \"" + (text.length() > 40 ? text.substring(0, 40) + "…" : text) + '"';
        }
        return value instanceof List ? "a list" : "a map";
    }

    /** A map that is read key by key; {@link #finish} refuses the keys that nobody asked for. */
    public static final class Fields {
        private final Map<String, Object> entries;
        private final Set<String> asked = new LinkedHashSet<>();

        private Fields(Map<String, Object> entries) {
            this.entries = entries;
        }

        /** Text that must be there. */
        public String text(String name) {
            return Config.text(name, required(name));
        }

        /** Text, or what holds without it. */
        public String text(String name, String otherwise) {
            Object value = optional(name);
            return value == null ? otherwise : Config.text(name, value);
        }

        /** A whole number within bounds, which must be there. */
        public long integer(String name, long low, long high) {
            return integer(name, required(name), low, high);
        }

        /** A whole number within bounds, or what holds without it. */
        public long integer(String name, long low, long high, long otherwise) {
            Object value = optional(name);
            return value == null ? otherwise : integer(name, value, low, high);
        }

        /** true or false, or what holds without it. */
        public boolean bool(String name, boolean otherwise) {
            Object value = optional(name);
            if (value != null && !(value instanceof Boolean)) {
                throw new Fault(List.of(name), "expected true or false, found " + shown(value));
            }
            return value == null ? otherwise : (Boolean) value;
        }

        /** Any value; null if there is none. */
        public Object optional(String name) {
            asked.add(name);
            return entries.get(name);
        }

        /** Ends the reading. */
        public void finish() {
            for (String name : entries.keySet()) {
                if (!asked.contains(name)) {
                    String known = asked.isEmpty() ? "none" : String.join(", ", asked);
                    throw new Fault(List.of(name), "unknown key `" + name + "`; known keys: " + known);
                }
            }
        }

        private Object required(String name) {
            Object value = optional(name);
            if (value == null) {
                throw new Fault(List.of(), "the key `" + name + "` is missing");
            }
            return value;
        }

        private static long integer(String name, Object value, long low, long high) {
            if (!(value instanceof Long)) {
                throw new Fault(List.of(name), "expected a whole number, found " + shown(value));
            }
            long number = (Long) value;
            if (number < low || number > high) {
                throw new Fault(List.of(name), "expected a number from " + low + " to " + high + ", found " + number);
            }
            return number;
        }
    }
}
