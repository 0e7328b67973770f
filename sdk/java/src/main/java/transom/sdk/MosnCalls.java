package transom.sdk;

import io.grpc.MethodDescriptor.MethodType;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeoutException;
import proto.PluginOuterClass.Request;
import proto.PluginOuterClass.Response;
import transom.plugin.v1.ActionOuterClass.ChangeFields;
import transom.plugin.v1.ActionOuterClass.HeaderMap;
import transom.plugin.v1.Http.Field;
import transom.plugin.v1.PluginOuterClass.Kind;
import transom.plugin.v1.Work.StreamBegin;

/**
 * MOSN's `call`, answered by the same extensions: a call with headers is a request that meets the first stream filter (changes come back as MOSN's
 * pluginfilter takes them, a refusal is status -1, as demo_plugin takes it); one without is for the certificate provider, if there is one (loader).
 * Callouts are not to be had.
 */
final class MosnCalls {
    private static final Duration LONGEST = Duration.ofSeconds(60);

    private final Service service;
    private final Service.Ready filter;
    private final Service.Ready certificates;
    private final LocalPort.Store store = new LocalPort.Store();

    MosnCalls(Service service) {
        this.service = service;
        Config config = new Config(service.defaults);
        filter = service.first(Kind.STREAM_FILTER, config);
        certificates = service.first(Kind.CERTIFICATE_PROVIDER, config);
        if (filter == null && certificates == null) {
            throw new IllegalStateException("MOSN calls stream filters and certificate providers, and this plugin has neither");
        }
    }

    ServerServiceDefinition definition() {
        return ServerServiceDefinition.builder("proto.Plugin")
                .addMethod(
                        Service.method("proto.Plugin", "Call", MethodType.UNARY, Request.getDefaultInstance(), Response.getDefaultInstance()),
                        Service.unary(this::call))
                .build();
    }

    private Response call(Request request) {
        if (certificates != null && (filter == null || request.getHeaderCount() == 0)) {
            Certificate given = Service.certificate(certificates, "");
            String body = "{\"cert_pem\": " + pem(given.chain()) + ", \"key_pem\": " + pem(given.key()) + ", \"ca_pem\": "
                    + pem(given.clientAuthorities()) + "}";
            return Response.newBuilder().setBody(com.google.protobuf.ByteString.copyFromUtf8(body)).setStatus(1).build();
        }
        LocalPort port = new LocalPort(store, Map.of(), false);
        Stream stream = new Stream(1, port, filter, service.level, StreamBegin.getDefaultInstance());
        port.stream = stream;
        try {
            port.pass(headers(request.getHeaderMap()), request.getBody(), fields(request.getTrailerMap()), LONGEST);
        } catch (TimeoutException error) {
            throw Status.DEADLINE_EXCEEDED.withDescription("the filter waits for nothing that comes").asRuntimeException();
        } finally {
            stream.ends(9, null, Map.of());
        }
        if (!port.failure.isEmpty()) {
            throw Status.UNKNOWN.withDescription(port.failure).asRuntimeException();
        }
        if (port.reply != null) {
            return Response.newBuilder().setStatus(-1).build();
        }
        Response.Builder response = Response.newBuilder().setStatus(1);
        port.changes.forEach(change -> put(change, stream, response));
        if (port.bodies[0] != null) {
            response.setBody(port.bodies[0]);
        }
        return response.build();
    }

    /** MOSN's answer has one map of what changed: empty is gone. */
    private static void put(ChangeFields change, Stream stream, Response.Builder response) {
        boolean isTrailer = change.getMap() == HeaderMap.REQUEST_TRAILERS;
        if (!isTrailer && change.getMap() != HeaderMap.REQUEST_HEADERS) {
            return;
        }
        Map<String, String> changed = new TreeMap<>();
        change.getRemoveList().forEach(name -> changed.put(Headers.text(name), ""));
        change.getSetList().forEach(field -> changed.put(Headers.text(field.getName()), Headers.text(field.getValue())));
        change.getAddList().forEach(field -> {
            Headers headers = isTrailer ? stream.requestTrailers() : stream.request();
            String name = Headers.text(field.getName());
            changed.put(name, String.join(", ", headers.all(name)));
        });
        if (isTrailer) {
            response.putAllTrailer(changed);
        } else {
            response.putAllHeader(changed);
        }
    }

    private static String pem(byte[] text) {
        return Json.quote(new String(text, StandardCharsets.UTF_8));
    }

    private static List<Field> headers(Map<String, String> given) {
        List<Field> all = new ArrayList<>();
        for (Map.Entry<String, String> pseudo : Map.of(":method", "GET", ":path", "/", ":authority", "").entrySet()) {
            if (!given.containsKey(pseudo.getKey())) {
                all.add(Headers.field(pseudo.getKey(), pseudo.getValue()));
            }
        }
        all.addAll(fields(given));
        return all;
    }

    private static List<Field> fields(Map<String, String> given) {
        return Headers.fields(new TreeMap<>(given));
    }
}
