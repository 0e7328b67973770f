package transom.sdk;

import com.google.protobuf.ByteString;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import transom.plugin.v1.ActionOuterClass.Action;
import transom.plugin.v1.ActionOuterClass.ChangeFields;
import transom.plugin.v1.ActionOuterClass.HeaderMap;
import transom.plugin.v1.Http.Field;

/**
 * A header map of a message: names without regard to case, in their order, with doubles. The pseudo-headers (:method, :path, :authority, :scheme;
 * :status) are among them and can be set; "host" means :authority. Bytes above 127 are read as Latin-1.
 */
public final class Headers {
    /** They belong to the codec: RFC 9110 section 7.6.1. */
    private static final Set<String> RESERVED = Set.of(
            "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade");
    private static final Pattern NAME = Pattern.compile(":?[!#$%&'*+\\-.^_`|~0-9A-Za-z]+");
    private static final Pattern VALUE = Pattern.compile("[\\t\\x20-\\x7e\\x80-\\x{10ffff}]*");

    private final Flow flow;
    private final HeaderMap which;
    private List<Map.Entry<String, String>> fields = new ArrayList<>();
    boolean there;
    boolean released;

    Headers(Flow flow, HeaderMap which) {
        this.flow = flow;
        this.which = which;
    }

    Headers(List<Field> fields) {
        this(null, null);
        arrive(fields);
    }

    /** The first value of a name; null if there is none. */
    public String get(String name) {
        String wanted = canonical(name);
        for (Map.Entry<String, String> field : fields) {
            if (field.getKey().equalsIgnoreCase(wanted)) {
                return field.getValue();
            }
        }
        return null;
    }

    /** The first value of a name, or what stands for none. */
    public String get(String name, String otherwise) {
        String value = get(name);
        return value == null ? otherwise : value;
    }

    /** All values of a name, in their order. */
    public List<String> all(String name) {
        String wanted = canonical(name);
        List<String> values = new ArrayList<>();
        for (Map.Entry<String, String> field : fields) {
            if (field.getKey().equalsIgnoreCase(wanted)) {
                values.add(field.getValue());
            }
        }
        return values;
    }

    /** All fields, in their order. */
    public List<Map.Entry<String, String>> entries() {
        return List.copyOf(fields);
    }

    /** Replaces all values of a name by one, in the place of the first. */
    public void set(String name, String value) {
        check(name, value);
        String wanted = canonical(name);
        List<Map.Entry<String, String>> kept = new ArrayList<>();
        boolean placed = false;
        for (Map.Entry<String, String> field : fields) {
            if (!field.getKey().equalsIgnoreCase(wanted)) {
                kept.add(field);
            } else if (!placed) {
                kept.add(Map.entry(field.getKey(), value));
                placed = true;
            }
        }
        if (!placed) {
            kept.add(Map.entry(wanted, value));
        }
        fields = kept;
        change(ChangeFields.newBuilder().addSet(field(wanted, value)));
    }

    /** Adds a value behind those that are there. */
    public void add(String name, String value) {
        if (canonical(name).startsWith(":")) {
            set(name, value);
            return;
        }
        check(name, value);
        fields.add(Map.entry(name, value));
        change(ChangeFields.newBuilder().addAdd(field(name, value)));
    }

    /** Removes all values of a name, also if they were not sent here. */
    public void remove(String name) {
        check(name, "");
        String wanted = canonical(name);
        if (wanted.startsWith(":")) {
            throw new IllegalArgumentException("a message needs its pseudo-headers");
        }
        fields.removeIf(field -> field.getKey().equalsIgnoreCase(wanted));
        change(ChangeFields.newBuilder().addRemove(ByteString.copyFromUtf8(name)));
    }

    void arrive(List<Field> arrived) {
        there = true;
        released = false;
        fields = new ArrayList<>(arrived.size() + 2);
        for (Field field : arrived) {
            fields.add(Map.entry(text(field.getName()), text(field.getValue())));
        }
    }

    private void change(ChangeFields.Builder change) {
        flow.ask(Action.newBuilder().setFields(change.setMap(which)));
    }

    private void check(String name, String value) {
        if (released) {
            throw new IllegalStateException("the headers have left already");
        }
        if (!there || flow == null) {
            throw new IllegalStateException("the message has no such headers");
        }
        if (RESERVED.contains(name.toLowerCase(java.util.Locale.ROOT))) {
            throw new IllegalArgumentException(name + " belongs to the proxy");
        }
        if (!NAME.matcher(name).matches() || !VALUE.matcher(value).matches() || !value.equals(value.strip())) {
            throw new IllegalArgumentException("no header can be " + name + ": " + value);
        }
    }

    private static String canonical(String name) {
        return name.equalsIgnoreCase("host") ? ":authority" : name;
    }

    static String text(ByteString bytes) {
        return bytes.toString(StandardCharsets.ISO_8859_1);
    }

    static Field field(String name, String value) {
        boolean isLatin = value.chars().allMatch(c -> c < 256);
        return Field.newBuilder()
                .setName(ByteString.copyFrom(name, StandardCharsets.ISO_8859_1))
                .setValue(ByteString.copyFrom(value, isLatin ? StandardCharsets.ISO_8859_1 : StandardCharsets.UTF_8))
                .build();
    }

    static List<Field> fields(Map<String, String> pairs) {
        List<Field> fields = new ArrayList<>();
        pairs.forEach((name, value) -> fields.add(field(name, value)));
        return fields;
    }
}
