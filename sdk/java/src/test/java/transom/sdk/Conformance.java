package transom.sdk;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import java.util.function.Supplier;

/** The filters that sdk/CONFORMANCE.md describes, in Java. */
public final class Conformance {
    private Conformance() {}

    /** Serves them. */
    public static void main(String[] arguments) {
        if ("auth".equals(System.getenv("TRANSOM_CONFORMANCE"))) {
            new Plugin("conformance", "1.0.0").filter(FilterType.of("", Config::mapOfText, Auth::new)).serve(arguments);
        }
        NotesSettings notes = new NotesSettings();
        new Plugin("conformance", "1.0.0")
                .filter(FilterType.of("auth", Config::mapOfText, Auth::new))
                .filter(FilterType.of("rewrite", config -> text(config, "suffix", "!"), Rewrite::new)
                        .wholeRequestBody(64 << 10)
                        .changesLength(true, true))
                .filter(FilterType.of("callout", config -> text(config, "cluster", null), Callout::new).clusters(List::of))
                .filter(FilterType.of("pause", Conformance::pause, Pause::new))
                .filter(without("thread", Another::new))
                .filter(FilterType.<NotesSettings>of(
                                "notes",
                                config -> {
                                    config.nothing();
                                    return notes;
                                },
                                Notes::new)
                        .prepare((settings, use) -> settings.counter = use.counter("notes_total", "Requests noted.", Map.of()))
                        .attributes("source.address"))
                .filter(without("faulty", Faulty::new))
                .filter(FilterType.of("edit", Conformance::team, Edit::new).route(Conformance::team))
                .network(NetworkType.of("greet", nothing(), settings -> new Greet()))
                .certificates("", Conformance::files)
                .accessLog(AccessLog.of("", config -> Path.of(text(config, "file", null)), Conformance::log)
                        .attributes("request.method", "request.path", "response.code", "response.size")
                        .requestHeaders("user-agent")
                        .responseHeaders("x-note"))
                .logSink(LogSink.of("", config -> Path.of(text(config, "file", null)), Conformance::append))
                .serve(arguments);
    }

    private static void log(Path file, List<LogEntry> entries, long lost) throws IOException {
        List<byte[]> lines = new ArrayList<>();
        for (LogEntry entry : entries) {
            String line = String.join(
                    " ",
                    entry.text("request.method", "-"),
                    entry.text("request.path", "-"),
                    entry.text("response.code", "-"),
                    entry.text("response.size", "-"),
                    entry.requestHeader("user-agent", "-"),
                    entry.responseHeader("x-note", "-"));
            lines.add(line.getBytes(StandardCharsets.UTF_8));
        }
        append(file, lines, lost);
    }

    private static void append(Path file, List<byte[]> lines, long lost) throws IOException {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        if (lost > 0) {
            text.writeBytes(("lost " + lost + "\n").getBytes(StandardCharsets.US_ASCII));
        }
        for (byte[] line : lines) {
            text.writeBytes(line);
            text.write('\n');
        }
        Files.write(file, text.toByteArray(), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    private static FilterType<?> without(String name, Supplier<StreamFilter> make) {
        return FilterType.of(name, nothing(), settings -> make.get());
    }

    private static Function<Config, Boolean> nothing() {
        return config -> {
            config.nothing();
            return true;
        };
    }

    private static String text(Config config, String key, String otherwise) {
        Config.Fields fields = config.fields();
        String value = otherwise == null ? fields.text(key) : fields.text(key, otherwise);
        fields.finish();
        return value;
    }

    private static String team(Config config) {
        return text(config, "team", "none");
    }

    private static Duration pause(Config config) {
        Config.Fields fields = config.fields();
        long ms = fields.integer("ms", 0, 60_000);
        fields.finish();
        return Duration.ofMillis(ms);
    }

    private static CertificateSource files(Config config) {
        Config.Fields fields = config.fields();
        Path chain = Path.of(fields.text("chain"));
        Path key = Path.of(fields.text("key"));
        fields.finish();
        return serverName -> new Certificate(read(chain), read(key), Duration.ofHours(1));
    }

    private static byte[] read(Path file) {
        try {
            return Files.readAllBytes(file);
        } catch (IOException error) {
            throw new UncheckedIOException("cannot read " + file, error);
        }
    }

    private static byte[] upper(byte[] text) {
        byte[] upper = text.clone();
        for (int at = 0; at < upper.length; at++) {
            upper[at] = upper[at] >= 'a' && upper[at] <= 'z' ? (byte) (upper[at] - 32) : upper[at];
        }
        return upper;
    }

    /** Refuses requests that lack a header of the configuration. */
    static final class Auth extends StreamFilter {
        private final Map<String, String> wanted;

        Auth(Map<String, String> wanted) {
            this.wanted = wanted;
        }

        @Override
        public HeadersVerdict requestHeaders(Stream stream, boolean end) {
            if (wanted.entrySet().stream().allMatch(one -> one.getValue().equals(stream.request().get(one.getKey())))) {
                return HeadersVerdict.CONTINUE;
            }
            stream.reply(LocalReply.of(403, "denied\n", "auth_denied").headers(Map.of("x-denied-by", "auth")));
            return HeadersVerdict.STOP;
        }
    }

    /** Writes bodies in capitals. */
    static final class Rewrite extends StreamFilter {
        private final String suffix;

        Rewrite(String suffix) {
            this.suffix = suffix;
        }

        @Override
        public HeadersVerdict requestHeaders(Stream stream, boolean end) {
            return end ? HeadersVerdict.CONTINUE : HeadersVerdict.STOP;
        }

        @Override
        public DataVerdict requestBody(Stream stream, boolean end) {
            byte[] body = stream.body(Direction.REQUEST);
            stream.request().set("x-body-length", String.valueOf(body.length));
            stream.setBody(Direction.REQUEST, upper(body));
            return DataVerdict.CONTINUE;
        }

        @Override
        public HeadersVerdict responseHeaders(Stream stream, boolean end) {
            stream.response().set("x-rewritten", "yes");
            return HeadersVerdict.CONTINUE;
        }

        @Override
        public DataVerdict responseBody(Stream stream, boolean end) {
            String body = new String(upper(stream.body(Direction.RESPONSE)), StandardCharsets.ISO_8859_1) + (end ? suffix : "");
            stream.setBody(Direction.RESPONSE, body.getBytes(StandardCharsets.ISO_8859_1));
            return DataVerdict.CONTINUE;
        }
    }

    /** Asks another service whether a request may pass. */
    static final class Callout extends StreamFilter {
        private final String cluster;

        Callout(String cluster) {
            this.cluster = cluster;
        }

        @Override
        public HeadersVerdict requestHeaders(Stream stream, boolean end) {
            HttpCall call = HttpCall.get(cluster, "auth", "/check")
                    .header("x-token", stream.request().get("x-token", ""))
                    .timeout(Duration.ofSeconds(1));
            return stream.later(stream.call(call).handle((answer, error) -> {
                if (error != null) {
                    stream.reply(LocalReply.of(503, "", "callout_failed"));
                    return HeadersVerdict.STOP;
                }
                if (answer.status() != 200) {
                    stream.reply(LocalReply.of(403, "", "callout_denied"));
                    return HeadersVerdict.STOP;
                }
                stream.request().set("x-user", answer.headers().get("x-user", ""));
                return HeadersVerdict.CONTINUE;
            }));
        }
    }

    /** Holds requests for a time. */
    static final class Pause extends StreamFilter {
        private final Duration time;

        Pause(Duration time) {
            this.time = time;
        }

        @Override
        public HeadersVerdict requestHeaders(Stream stream, boolean end) {
            return stream.later(stream.sleep(time).thenApply(nothing -> {
                stream.request().set("x-paused", "yes");
                return HeadersVerdict.CONTINUE;
            }));
        }
    }

    /** Lets another thread decide when requests go on. */
    static final class Another extends StreamFilter {
        @Override
        public HeadersVerdict requestHeaders(Stream stream, boolean end) {
            new Thread(() -> {
                        try {
                            Thread.sleep(5);
                        } catch (InterruptedException error) {
                            return;
                        }
                        stream.post(one -> {
                            one.request().set("x-thread", "yes");
                            one.resume(Direction.REQUEST);
                        });
                    })
                    .start();
            return HeadersVerdict.STOP_ALL;
        }
    }

    static final class NotesSettings {
        int counter;
    }

    /** Leaves notes everywhere, and counts visits in the host's shared data. */
    static final class Notes extends StreamFilter {
        private final NotesSettings settings;

        Notes(NotesSettings settings) {
            this.settings = settings;
        }

        @Override
        public HeadersVerdict requestHeaders(Stream stream, boolean end) {
            String path = stream.request().get(":path");
            stream.setMetadata("notes", "path", path);
            stream.setMetadata("notes", "length", path.length());
            stream.setMetadata("notes", "seen", true);
            stream.count(settings.counter, 1);
            stream.log(Level.INFO, "noted " + path);
            Object from = stream.attribute("source.address");
            stream.request().set("x-from", from == null ? "" : from.toString());
            return stream.later(visit(stream));
        }

        private CompletableFuture<HeadersVerdict> visit(Stream stream) {
            return stream.sharedGet("visits").thenCompose(there -> {
                long visits = there.bytes() == null ? 0 : Long.parseLong(new String(there.bytes(), StandardCharsets.US_ASCII));
                String next = String.valueOf(visits + 1);
                return stream.sharedCompareAndSet("visits", next.getBytes(StandardCharsets.US_ASCII), there.version())
                        .thenCompose(done -> {
                            if (!done) {
                                return visit(stream);
                            }
                            stream.request().set("x-visits", next);
                            return CompletableFuture.completedFuture(HeadersVerdict.CONTINUE);
                        });
            });
        }

        @Override
        public HeadersVerdict responseHeaders(Stream stream, boolean end) {
            return HeadersVerdict.CONTINUE;
        }

        @Override
        public void complete(Stream stream) {
            stream.setMetadata("notes", "status", stream.response().get(":status", ""));
        }
    }

    /** Breaks when it is asked to. */
    static final class Faulty extends StreamFilter {
        @Override
        public HeadersVerdict requestHeaders(Stream stream, boolean end) {
            if (stream.path().equals("/panic")) {
                throw new IllegalStateException("told to panic");
            }
            if (stream.path().equals("/fail")) {
                stream.fail("told to fail");
            }
            if (stream.path().equals("/log")) {
                System.getLogger("conformance").log(System.Logger.Level.WARNING, "told to log");
            }
            return HeadersVerdict.CONTINUE;
        }
    }

    /** Changes headers and trailers. */
    static final class Edit extends StreamFilter {
        private final String team;

        Edit(String team) {
            this.team = team;
        }

        @Override
        public HeadersVerdict requestHeaders(Stream stream, boolean end) {
            Headers headers = stream.request();
            headers.remove("x-remove");
            headers.set("x-set", "a");
            headers.add("x-add", "1");
            headers.add("x-add", "2");
            headers.set("x-team", stream.routeConfig() == null ? team : (String) stream.routeConfig());
            return HeadersVerdict.CONTINUE;
        }

        @Override
        public TrailersVerdict requestTrailers(Stream stream) {
            stream.requestTrailers().set("x-trailer", "yes");
            return TrailersVerdict.CONTINUE;
        }

        @Override
        public HeadersVerdict responseHeaders(Stream stream, boolean end) {
            stream.response().set("x-edited", "yes");
            return HeadersVerdict.CONTINUE;
        }
    }

    /** Greets connections, shouts back, and ends with bye. */
    static final class Greet extends NetworkFilter {
        @Override
        public NetworkVerdict newConnection(Connection connection) {
            connection.inject(Direction.RESPONSE, "hello\n".getBytes(StandardCharsets.US_ASCII), false);
            return NetworkVerdict.CONTINUE;
        }

        @Override
        public NetworkVerdict clientData(Connection connection, boolean end) {
            if (new String(connection.bytes(), StandardCharsets.ISO_8859_1).startsWith("bye")) {
                connection.close();
                return NetworkVerdict.STOP;
            }
            connection.setBytes(upper(connection.bytes()));
            return NetworkVerdict.CONTINUE;
        }
    }
}
