package transom.sdk;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;

/** A request to a cluster of the host's. A timeout of zero is the host's 5 s. */
public record HttpCall(String cluster, String method, String authority, String path, Map<String, String> headers, byte[] body, Duration timeout) {
    /** GET of a path. */
    public static HttpCall get(String cluster, String authority, String path) {
        return new HttpCall(cluster, "GET", authority, path, Map.of(), new byte[0], Duration.ZERO);
    }

    /** The same with one more header. */
    public HttpCall header(String name, String value) {
        Map<String, String> more = new LinkedHashMap<>(headers);
        more.put(name, value);
        return new HttpCall(cluster, method, authority, path, more, body, timeout);
    }

    /** The same by POST with a body. */
    public HttpCall post(byte[] body) {
        return new HttpCall(cluster, "POST", authority, path, headers, body, timeout);
    }

    /** The same with a timeout of the whole call. */
    public HttpCall timeout(Duration timeout) {
        return new HttpCall(cluster, method, authority, path, headers, body, timeout);
    }
}
