package transom.sdk;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Reads JSON (RFC 8259) into maps, lists, text, longs, doubles, booleans and null. */
final class Json {
    /** Deeper documents are refused: they would take the reader's stack. */
    private static final int DEEPEST = 200;

    private final String text;
    private int at;
    private int depth;

    private Json(String text) {
        this.text = text;
    }

    static Object read(String text) {
        Json json = new Json(text);
        Object value = json.value();
        json.space();
        if (json.at < text.length()) {
            throw json.wrong("something behind the value");
        }
        return value;
    }

    static String quote(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                quoted.append('\\').append(c);
            } else if (c < ' ') {
                quoted.append(String.format("\\u%04x", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }

    private Object value() {
        space();
        if (++depth > DEEPEST) {
            throw wrong("more than " + DEEPEST + " levels");
        }
        try {
            switch (peek()) {
                case '{':
                    return map();
                case '[':
                    return list();
                case '"':
                    return string();
                default:
                    return word();
            }
        } finally {
            depth--;
        }
    }

    private Map<String, Object> map() {
        Map<String, Object> map = new LinkedHashMap<>();
        at++;
        space();
        if (peek() == '}') {
            at++;
            return map;
        }
        while (true) {
            space();
            if (peek() != '"') {
                throw wrong("a key in quotes is missing");
            }
            String key = string();
            space();
            expect(':');
            map.put(key, value());
            space();
            if (peek() == '}') {
                at++;
                return map;
            }
            expect(',');
        }
    }

    private List<Object> list() {
        List<Object> list = new ArrayList<>();
        at++;
        space();
        if (peek() == ']') {
            at++;
            return list;
        }
        while (true) {
            list.add(value());
            space();
            if (peek() == ']') {
                at++;
                return list;
            }
            expect(',');
        }
    }

    private String string() {
        StringBuilder read = new StringBuilder();
        at++;
        while (true) {
            char c = next();
            if (c == '"') {
                return read.toString();
            }
            if (c < ' ') {
                throw wrong("a control character in text");
            }
            if (c != '\\') {
                read.append(c);
                continue;
            }
            c = next();
            int place = "\"\\/bfnrt".indexOf(c);
            if (place >= 0) {
                read.append("\"\\/\b\f\n\r\t".charAt(place));
            } else if (c == 'u' && at + 4 <= text.length()) {
                try {
                    read.append((char) Integer.parseInt(text.substring(at, at + 4), 16));
                } catch (NumberFormatException error) {
                    throw wrong("four hexadecimal digits are missing");
                }
                at += 4;
            } else {
                throw wrong("an unknown escape");
            }
        }
    }

    private Object word() {
        int start = at;
        while (at < text.length() && "+-.0123456789abcdefghijklmnopqrstuvwxyzE".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        String word = text.substring(start, at);
        switch (word) {
            case "true":
                return true;
            case "false":
                return false;
            case "null":
                return null;
            default:
        }
        if (!word.matches("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")) {
            at = start;
            throw wrong("no value is here");
        }
        try {
            return Long.valueOf(word);
        } catch (NumberFormatException error) {
            return Double.valueOf(word);
        }
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private char peek() {
        if (at >= text.length()) {
            throw wrong("it ends too early");
        }
        return text.charAt(at);
    }

    private char next() {
        char c = peek();
        at++;
        return c;
    }

    private void expect(char wanted) {
        if (peek() != wanted) {
            throw wrong("'" + wanted + "' is missing");
        }
        at++;
    }

    private Fault wrong(String what) {
        return new Fault(List.of(), "the configuration is no JSON: at character " + (at + 1) + ", " + what);
    }
}
