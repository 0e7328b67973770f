package transom.sdk;

import com.google.protobuf.ByteString;
import com.google.protobuf.Message;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import transom.plugin.v1.Certificate.CertificateRequest;
import transom.plugin.v1.Certificate.CertificateResponse;
import transom.plugin.v1.Log.LogBatch;
import transom.plugin.v1.Log.LogSummary;
import transom.plugin.v1.PluginOuterClass;
import transom.plugin.v1.PluginOuterClass.CheckRequest;
import transom.plugin.v1.PluginOuterClass.CheckResponse;
import transom.plugin.v1.PluginOuterClass.ConfigFault;
import transom.plugin.v1.PluginOuterClass.DescribeRequest;
import transom.plugin.v1.PluginOuterClass.DescribeResponse;
import transom.plugin.v1.PluginOuterClass.Extension;
import transom.plugin.v1.PluginOuterClass.Kind;
import transom.plugin.v1.PluginOuterClass.Needs;
import transom.plugin.v1.PluginOuterClass.PrepareRequest;
import transom.plugin.v1.PluginOuterClass.PrepareResponse;
import transom.plugin.v1.PluginOuterClass.ReleaseRequest;
import transom.plugin.v1.PluginOuterClass.ReleaseResponse;
import transom.plugin.v1.Work.ToHost;
import transom.plugin.v1.Work.ToPlugin;

/** transom.plugin.v1.Plugin over a {@link Plugin}. */
final class Service {
    static final int REVISION = 1;
    private static final String NAME = "transom.plugin.v1.Plugin";

    final Plugin plugin;
    final String defaults;
    final Level level;
    private final Map<Long, Ready> uses = new ConcurrentHashMap<>();

    Service(Plugin plugin, String defaults, Level level) {
        this.plugin = plugin;
        this.defaults = defaults;
        this.level = level;
    }

    /** A use that is ready; or, with a fault, one that is not. */
    static final class Ready {
        final String fault;
        Collection<String> clusters = Set.of();
        CertificateSource source;
        Keep keep;
        private FilterType<?> type;
        private Function<Void, StreamFilter> filters;
        private Function<Void, NetworkFilter> connections;
        private final Map<String, Object> routes = new ConcurrentHashMap<>();

        Ready(String fault) {
            this.fault = fault;
        }

        StreamFilter makeFilter() {
            return filters.apply(null);
        }

        NetworkFilter makeNetworkFilter() {
            return connections.apply(null);
        }

        boolean changesRequestLength() {
            return type != null && type.changesRequestLength;
        }

        boolean changesResponseLength() {
            return type != null && type.changesResponseLength;
        }

        Object routeConfig(String json) {
            return type.route == null ? null : routes.computeIfAbsent(json, text -> type.route.apply(new Config(text)));
        }
    }

    /** What takes a log's batch. */
    interface Keep {
        void keep(LogBatch batch) throws Exception;
    }

    /** An extension of whatever kind. */
    private record Found(
            Kind kind, String name, Phase phase, String schema, Function<Config, Prepared> parse, Function<Config, ?> route) {}

    /** What was parsed: its use, what it needs, and the rest of its making. */
    private record Prepared(Ready ready, Needs.Builder needs, java.util.function.Consumer<Use> prepare) {}

    Ready use(long id) {
        Ready ready = uses.get(id);
        return ready == null || ready.fault != null ? new Ready("use " + id + " was not prepared") : ready;
    }

    private List<Found> all() {
        List<Found> all = new ArrayList<>();
        plugin.filters.forEach(type -> all.add(found(type)));
        plugin.network.forEach(type -> all.add(found(type)));
        plugin.certificates.forEach((name, parse) -> all.add(new Found(
                Kind.CERTIFICATE_PROVIDER,
                name,
                Phase.BEFORE_ROUTE,
                "",
                config -> {
                    Ready ready = new Ready(null);
                    ready.source = parse.apply(config);
                    // The first answer must be good: else the use is not ready.
                    return new Prepared(ready, Needs.newBuilder(), use -> certificate(ready, ""));
                },
                null)));
        plugin.accessLogs.forEach(log -> all.add(found(log)));
        plugin.logSinks.forEach(sink -> all.add(found(sink)));
        return all;
    }

    private <S> Found found(AccessLog<S> log) {
        Needs.Builder needs = Needs.newBuilder().addAllAttributes(log.attributes);
        log.requestHeaders.forEach(name -> needs.addRequestHeaders(name.toLowerCase(Locale.ROOT)));
        log.responseHeaders.forEach(name -> needs.addResponseHeaders(name.toLowerCase(Locale.ROOT)));
        Function<Config, Keep> parse = config -> {
            S settings = log.parse.apply(config);
            return batch -> {
                List<LogEntry> entries = new ArrayList<>();
                batch.getEntriesList().forEach(entry -> entries.add(new LogEntry(entry.getValuesMap())));
                log.keep.log(settings, entries, batch.getLost());
            };
        };
        return log(Kind.ACCESS_LOG, log.name, log.schema, parse, needs);
    }

    private <S> Found found(LogSink<S> sink) {
        Function<Config, Keep> parse = config -> {
            S settings = sink.parse.apply(config);
            return batch -> {
                List<byte[]> lines = new ArrayList<>();
                batch.getLinesList().forEach(line -> lines.add(line.toByteArray()));
                sink.keep.write(settings, lines, batch.getLost());
            };
        };
        return log(Kind.LOG_SINK, sink.name, sink.schema, parse, Needs.newBuilder());
    }

    private static Found log(Kind kind, String name, String schema, Function<Config, Keep> parse, Needs.Builder needs) {
        return new Found(
                kind,
                name,
                Phase.BEFORE_ROUTE,
                schema,
                config -> {
                    Ready ready = new Ready(null);
                    ready.keep = parse.apply(config);
                    return new Prepared(ready, needs.clone(), use -> {});
                },
                null);
    }

    /** The batches of one of the host's workers, one after the other on a thread that may block. */
    private StreamObserver<LogBatch> log(StreamObserver<LogSummary> host) {
        ServerCallStreamObserver<LogSummary> call = (ServerCallStreamObserver<LogSummary>) host;
        call.disableAutoRequest();
        call.request(1);
        return new StreamObserver<>() {
            private CompletableFuture<Long> kept = CompletableFuture.completedFuture(0L);

            @Override
            public void onNext(LogBatch batch) {
                kept = kept.thenApplyAsync(
                        count -> {
                            Keep keep = use(batch.getUseId()).keep;
                            if (keep == null) {
                                throw Status.INVALID_ARGUMENT
                                        .withDescription("use " + batch.getUseId() + " is no log of this plugin that is ready")
                                        .asRuntimeException();
                            }
                            try {
                                keep.keep(batch);
                            } catch (Exception error) {
                                throw Status.UNAVAILABLE.withDescription("the log failed: " + error).asRuntimeException();
                            }
                            call.request(1);
                            return count + batch.getEntriesCount() + batch.getLinesCount();
                        },
                        Plugin.THREADS);
                kept.exceptionally(error -> {
                    call.onError(error instanceof CompletionException ? error.getCause() : error);
                    return 0L;
                });
            }

            @Override
            public void onError(Throwable gone) {}

            @Override
            public void onCompleted() {
                kept.thenAccept(count -> {
                    call.onNext(LogSummary.newBuilder().setEntries(count).build());
                    call.onCompleted();
                });
            }
        };
    }

    private <S> Found found(FilterType<S> type) {
        return new Found(
                Kind.STREAM_FILTER,
                type.name,
                type.phase,
                type.schema,
                config -> {
                    S settings = type.parse.apply(config);
                    Ready ready = new Ready(null);
                    ready.type = type;
                    ready.filters = nothing -> type.make.apply(settings);
                    ready.clusters = type.clusters.apply(settings);
                    Needs.Builder needs = Needs.newBuilder()
                            .addAllAttributes(type.attributes)
                            .addAllClusters(ready.clusters)
                            .setWholeRequestBody(type.wholeRequestBody)
                            .setWholeResponseBody(type.wholeResponseBody);
                    type.requestHeaders.forEach(name -> needs.addRequestHeaders(name.toLowerCase(Locale.ROOT)));
                    type.responseHeaders.forEach(name -> needs.addResponseHeaders(name.toLowerCase(Locale.ROOT)));
                    return new Prepared(ready, needs, use -> {
                        type.prepare.accept(settings, use);
                        needs.setCallbacks(Callbacks.of(ready.makeFilter(), type));
                    });
                },
                type.route);
    }

    private <S> Found found(NetworkType<S> type) {
        return new Found(
                Kind.NETWORK_FILTER,
                type.name,
                Phase.BEFORE_ROUTE,
                type.schema,
                config -> {
                    S settings = type.parse.apply(config);
                    Ready ready = new Ready(null);
                    ready.connections = nothing -> type.make.apply(settings);
                    ready.clusters = type.clusters.apply(settings);
                    Needs.Builder needs = Needs.newBuilder().addAllAttributes(type.attributes).addAllClusters(ready.clusters);
                    return new Prepared(ready, needs, use -> needs.setCallbacks(Callbacks.of(ready.makeNetworkFilter())));
                },
                null);
    }

    private Found find(PluginOuterClass.Use subject) {
        List<Found> found = new ArrayList<>();
        List<String> known = new ArrayList<>();
        for (Found one : all()) {
            known.add(one.kind.name().toLowerCase(Locale.ROOT) + (one.name.isEmpty() ? "" : " \"" + one.name + '"'));
            if (one.kind == subject.getKind() && (subject.getExtension().isEmpty() || subject.getExtension().equals(one.name))) {
                found.add(one);
            }
        }
        if (found.size() != 1) {
            throw Status.INVALID_ARGUMENT
                    .withDescription("this plugin has no " + subject.getKind().name().toLowerCase(Locale.ROOT) + " named \""
                            + subject.getExtension() + "\"; it has: " + String.join(", ", known))
                    .asRuntimeException();
        }
        return found.get(0);
    }

    private Config config(PluginOuterClass.Use subject) {
        return new Config(subject.getConfig().isEmpty() ? defaults : subject.getConfig().toStringUtf8());
    }

    DescribeResponse describe(DescribeRequest request) {
        DescribeResponse.Builder answer =
                DescribeResponse.newBuilder().setRevision(REVISION).setName(plugin.name).setVersion(plugin.version);
        for (Found one : all()) {
            answer.addExtensions(Extension.newBuilder()
                    .setKind(one.kind)
                    .setName(one.name)
                    .setPhaseValue(one.phase.ordinal())
                    .setSchema(one.schema));
        }
        return answer.build();
    }

    CheckResponse check(CheckRequest request) {
        Found found = find(request.getSubject());
        try {
            Config config = config(request.getSubject());
            if (!request.getRoute()) {
                found.parse.apply(config);
            } else if (found.route != null) {
                found.route.apply(config);
            } else {
                throw new Fault(List.of(), "this extension takes no configuration per route");
            }
        } catch (RuntimeException error) {
            return CheckResponse.newBuilder().addFaults(fault(error)).build();
        }
        return CheckResponse.getDefaultInstance();
    }

    PrepareResponse prepare(PrepareRequest request) {
        Found found = find(request.getSubject());
        try {
            Use use = new Use(request.getSubject().getName());
            Prepared prepared = prepare(found, use, config(request.getSubject()));
            uses.put(request.getSubject().getId(), prepared.ready);
            return PrepareResponse.newBuilder().setNeeds(prepared.needs).build();
        } catch (RuntimeException error) {
            return PrepareResponse.newBuilder().addFaults(fault(error)).build();
        }
    }

    private static Prepared prepare(Found found, Use use, Config config) {
        Prepared prepared = found.parse.apply(config);
        prepared.prepare.accept(use);
        prepared.needs.addAllMetrics(use.metrics);
        return prepared;
    }

    /** A use for calls of MOSN's and trials; null if the plugin has no extension of the kind. */
    Ready first(Kind kind, Config config) {
        for (Found one : all()) {
            if (one.kind == kind) {
                return prepare(one, new Use("first"), config).ready;
            }
        }
        return null;
    }

    CertificateResponse certificate(CertificateRequest request) {
        Ready ready = use(request.getUseId());
        if (ready.source == null) {
            throw Status.INVALID_ARGUMENT
                    .withDescription("use " + request.getUseId() + " is no certificate provider of this plugin that is ready")
                    .asRuntimeException();
        }
        Certificate given;
        try {
            given = certificate(ready, request.getServerName());
        } catch (RuntimeException error) {
            throw Status.UNAVAILABLE.withDescription(error.getMessage()).asRuntimeException();
        }
        if (given == null) {
            return CertificateResponse.getDefaultInstance();
        }
        return CertificateResponse.newBuilder()
                .setCertificateChain(ByteString.copyFrom(given.chain()))
                .setPrivateKey(ByteString.copyFrom(given.key()))
                .setClientAuthorities(ByteString.copyFrom(given.clientAuthorities()))
                .setRefreshAfterMs(given.refreshAfter().toMillis())
                .build();
    }

    static Certificate certificate(Ready ready, String serverName) {
        try {
            return ready.source.certificate(serverName);
        } catch (RuntimeException error) {
            throw error;
        } catch (Exception error) {
            throw new IllegalStateException(error.toString(), error);
        }
    }

    static ConfigFault fault(RuntimeException error) {
        if (error instanceof Fault) {
            Fault fault = (Fault) error;
            return ConfigFault.newBuilder().addAllPath(fault.path()).setMessage(fault.text()).build();
        }
        return ConfigFault.newBuilder().setMessage(String.valueOf(error.getMessage())).build();
    }

    ServerServiceDefinition definition() {
        return ServerServiceDefinition.builder(NAME)
                .addMethod(
                        method(NAME, "Describe", MethodType.UNARY, DescribeRequest.getDefaultInstance(), DescribeResponse.getDefaultInstance()),
                        unary(this::describe))
                .addMethod(
                        method(NAME, "Check", MethodType.UNARY, CheckRequest.getDefaultInstance(), CheckResponse.getDefaultInstance()),
                        unary(this::check))
                .addMethod(
                        method(NAME, "Prepare", MethodType.UNARY, PrepareRequest.getDefaultInstance(), PrepareResponse.getDefaultInstance()),
                        unary(this::prepare))
                .addMethod(
                        method(NAME, "Release", MethodType.UNARY, ReleaseRequest.getDefaultInstance(), ReleaseResponse.getDefaultInstance()),
                        unary(request -> {
                            uses.remove(request.getUseId());
                            return ReleaseResponse.getDefaultInstance();
                        }))
                .addMethod(
                        method(
                                NAME,
                                "Certificate",
                                MethodType.UNARY,
                                CertificateRequest.getDefaultInstance(),
                                CertificateResponse.getDefaultInstance()),
                        unary(this::certificate))
                .addMethod(
                        method(NAME, "Work", MethodType.BIDI_STREAMING, ToPlugin.getDefaultInstance(), ToHost.getDefaultInstance()),
                        ServerCalls.asyncBidiStreamingCall(host -> new Worker(this, host)))
                .addMethod(
                        method(NAME, "Log", MethodType.CLIENT_STREAMING, LogBatch.getDefaultInstance(), LogSummary.getDefaultInstance()),
                        ServerCalls.asyncClientStreamingCall(this::log))
                .build();
    }

    static <Q extends Message, A extends Message> MethodDescriptor<Q, A> method(
            String service, String name, MethodType type, Q request, A answer) {
        return MethodDescriptor.<Q, A>newBuilder()
                .setType(type)
                .setFullMethodName(MethodDescriptor.generateFullMethodName(service, name))
                .setRequestMarshaller(ProtoUtils.marshaller(request))
                .setResponseMarshaller(ProtoUtils.marshaller(answer))
                .build();
    }

    static <Q, A> io.grpc.ServerCallHandler<Q, A> unary(Function<Q, A> answer) {
        return ServerCalls.asyncUnaryCall((Q request, StreamObserver<A> caller) -> {
            A given;
            try {
                given = answer.apply(request);
            } catch (StatusRuntimeException error) {
                caller.onError(error);
                return;
            } catch (RuntimeException error) {
                caller.onError(Status.UNKNOWN.withDescription(error.toString()).asRuntimeException());
                return;
            }
            caller.onNext(given);
            caller.onCompleted();
        });
    }
}
