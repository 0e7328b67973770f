package transom.sdk;

import com.google.protobuf.ByteString;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeoutException;
import transom.plugin.v1.ActionOuterClass.CalloutResponse;
import transom.plugin.v1.Http.Field;
import transom.plugin.v1.PluginOuterClass.Kind;
import transom.plugin.v1.Work.StreamBegin;

/** A request that meets a filter in a unit test, without a host. Times pass at once; shared data begins empty. */
public final class Trial {
    private final FilterType<?> type;
    private String config = "";
    private String method = "GET";
    private String path = "/";
    private final Map<String, String> headers = new LinkedHashMap<>();
    private final Map<String, CalloutResponse> callouts = new LinkedHashMap<>();
    private byte[] body = new byte[0];

    /** A trial of a filter. */
    public Trial(FilterType<?> type) {
        this.type = type;
    }

    /** The use's configuration, as JSON. */
    public Trial config(String json) {
        config = json;
        return this;
    }

    /** The request's method and path. */
    public Trial request(String of, String to) {
        method = of;
        path = to;
        return this;
    }

    /** A header of the request. */
    public Trial header(String name, String value) {
        headers.put(name, value);
        return this;
    }

    /** The request's body. */
    public Trial body(byte[] data) {
        body = data;
        return this;
    }

    /** What a cluster answers to callouts; others are not there. */
    public Trial callout(String cluster, int status, Map<String, String> of) {
        callouts.put(
                cluster,
                CalloutResponse.newBuilder()
                        .addHeaders(Headers.field(":status", String.valueOf(status)))
                        .addAllHeaders(Headers.fields(of))
                        .build());
        return this;
    }

    /** Has the request pass a new filter. A configuration that is wrong throws {@link Fault}. */
    public Outcome run() {
        Service service = new Service(new Plugin("trial", "0").filter(type), "", Level.TRACE);
        Service.Ready ready = service.first(Kind.STREAM_FILTER, new Config(config));
        LocalPort port = new LocalPort(new LocalPort.Store(), callouts, true);
        Stream stream = new Stream(1, port, ready, Level.TRACE, StreamBegin.getDefaultInstance());
        port.stream = stream;
        List<Field> all = new ArrayList<>(List.of(
                Headers.field(":method", method),
                Headers.field(":scheme", "http"),
                Headers.field(":authority", "example.test"),
                Headers.field(":path", path)));
        all.addAll(Headers.fields(headers));
        try {
            port.pass(all, ByteString.copyFrom(body), List.of(), Duration.ofSeconds(5));
        } catch (TimeoutException error) {
            throw new IllegalStateException("the filter stopped the stream and did not let it go on within 5 s");
        }
        stream.ends(9, null, Map.of());
        ByteString sent = port.bodies[0];
        return new Outcome(
                port.reply == null ? 0 : port.reply.getStatus(),
                port.reply == null ? "" : port.reply.getDetails(),
                stream.request(),
                sent == null ? body : sent.toByteArray(),
                port.failure,
                List.copyOf(port.logs));
    }

    /** What became of a trial: status and details of the filter's own answer (0 if the request went on), what went on, why the filter failed. */
    public record Outcome(int status, String details, Headers request, byte[] requestBody, String failure, List<String> logs) {}
}
