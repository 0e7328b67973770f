package transom.sdk;

import com.google.protobuf.ByteString;
import java.util.Map;
import transom.plugin.v1.Http;

/** An answer in place of the host's. details says why in a word, for the access log. */
public record LocalReply(int status, Map<String, String> headers, byte[] body, String details) {
    /** An answer with a body of text. */
    public static LocalReply of(int status, String body, String details) {
        return new LocalReply(status, Map.of(), body.getBytes(java.nio.charset.StandardCharsets.UTF_8), details);
    }

    /** The same with other headers. */
    public LocalReply headers(Map<String, String> headers) {
        return new LocalReply(status, headers, body, details);
    }

    Http.LocalReply wire() {
        return Http.LocalReply.newBuilder()
                .setStatus(status)
                .addAllHeaders(Headers.fields(headers))
                .setBody(ByteString.copyFrom(body))
                .setDetails(details)
                .build();
    }
}
