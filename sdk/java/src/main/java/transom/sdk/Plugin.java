package transom.sdk;

import io.grpc.BindableService;
import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.Epoll;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ServerCalls;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.reflect.Proxy;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/** A program that the proxy starts, and what it can be used as. */
public final class Plugin {
    /** Where what filters wait for goes on, and code that blocks runs. */
    static final ExecutorService THREADS = Executors.newCachedThreadPool(work -> {
        Thread thread = new Thread(work, "transom-plugin");
        thread.setDaemon(true);
        return thread;
    });

    private static final java.util.logging.Logger NETTY = java.util.logging.Logger.getLogger("io.grpc.netty.shaded.io.netty");
    private static final String COOKIE = "TRANSOM_PLUGIN_COOKIE";
    private static final String COOKIE_VALUE = "transom.plugin.v1";
    private static final String MOSN_COOKIE = "MOSN_PLUGIN";

    final String name;
    final String version;
    final List<FilterType<?>> filters = new ArrayList<>();
    final List<NetworkType<?>> network = new ArrayList<>();
    final Map<String, Function<Config, CertificateSource>> certificates = new LinkedHashMap<>();
    final List<AccessLog<?>> accessLogs = new ArrayList<>();
    final List<LogSink<?>> logSinks = new ArrayList<>();

    /** A plugin that can nothing yet. */
    public Plugin(String name, String version) {
        this.name = name;
        this.version = version;
    }

    /** Adds a stream filter. */
    public Plugin filter(FilterType<?> type) {
        filters.add(type);
        return this;
    }

    /** Adds a network filter. */
    public Plugin network(NetworkType<?> type) {
        network.add(type);
        return this;
    }

    /** Adds a certificate provider under a name (empty for the only one), by how its configuration is read. */
    public Plugin certificates(String of, Function<Config, CertificateSource> parse) {
        certificates.put(of, parse);
        return this;
    }

    /** Adds an access log. */
    public Plugin accessLog(AccessLog<?> log) {
        accessLogs.add(log);
        return this;
    }

    /** Adds a log sink. */
    public Plugin logSink(LogSink<?> sink) {
        logSinks.add(sink);
        return this;
    }

    /**
     * Serves until the host ends the plugin or is gone: the last thing that main does. It speaks Transom's protocol or MOSN's, whichever the cookie in the
     * environment names. Uses without a configuration, and MOSN's calls, get the one in the file that the argument -c FILE (or --config FILE) names.
     */
    public void serve(String[] arguments) {
        try {
            serving(arguments);
            System.exit(0);
        } catch (Fault fault) {
            fail("the configuration (argument -c FILE) is bad: " + fault.getMessage());
        } catch (IOException | GeneralSecurityException | RuntimeException error) {
            fail("the plugin cannot be served: " + error.getMessage());
        } catch (InterruptedException error) {
            System.exit(1);
        }
    }

    private void serving(String[] arguments) throws IOException, InterruptedException, GeneralSecurityException {
        boolean isMosn = "ON".equals(System.getenv(MOSN_COOKIE));
        if (!isMosn && !COOKIE_VALUE.equals(System.getenv(COOKIE))) {
            fail("This binary is a plugin. These are not meant to be executed directly.\n"
                    + "Please execute the program that consumes these plugins, which will load any plugins automatically");
        }
        String host = System.getenv("PLUGIN_CLIENT_CERT");
        Mtls mtls = host == null || host.isEmpty() ? null : new Mtls(host);
        Service service = new Service(this, configOf(arguments), levelOf(System.getenv("TRANSOM_LOG")));
        CountDownLatch over = new CountDownLatch(1);
        // It warns of options that Unix sockets do not have, at each connection.
        HostLog.install(service.level);
        NETTY.setLevel(java.util.logging.Level.SEVERE);
        NettyServerBuilder builder;
        String address;
        Path socket = null;
        EventLoopGroup group = null;
        if (Epoll.isAvailable()) {
            socket = socketPath();
            group = new EpollEventLoopGroup(1);
            builder = NettyServerBuilder.forAddress(new DomainSocketAddress(socket.toFile()))
                    .channelType(EpollServerDomainSocketChannel.class)
                    .bossEventLoopGroup(group)
                    .workerEventLoopGroup(group);
            address = "unix|" + socket;
        } else {
            builder = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0));
            address = null;
        }
        if (mtls != null) {
            builder.sslContext(mtls.context());
        }
        Server server = builder.maxInboundMessageSize(Integer.MAX_VALUE)
                .addService(isMosn ? new MosnCalls(service).definition() : service.definition())
                .addService(health())
                .addService(controller(over))
                .build()
                .start();
        if (address == null) {
            address = "tcp|127.0.0.1:" + server.getPort();
        }
        if (socket != null && mtls == null) {
            warm(socket, group);
        }
        System.out.println("1|1|" + address + "|grpc" + (mtls == null ? "" : "|" + mtls.certificate()));
        System.out.flush();
        // What is printed from now on becomes the host's log.
        System.setOut(System.err);
        onSignal("TERM", over::countDown);
        // Ctrl-C reaches the whole process group, and it is the host that decides when a plugin ends.
        onSignal("INT", () -> {});
        watchParent();
        over.await();
        server.shutdown().awaitTermination(500, TimeUnit.MILLISECONDS);
        server.shutdownNow();
        if (socket != null) {
            Files.deleteIfExists(socket);
        }
    }

    /** Has the server answer once before the host knows of it: what Java loads and compiles for that would be missing in the host's first deadline. */
    private static void warm(Path socket, EventLoopGroup group) {
        ManagedChannel channel = NettyChannelBuilder.forAddress(new DomainSocketAddress(socket.toFile()))
                .channelType(EpollDomainSocketChannel.class)
                .eventLoopGroup(group)
                .usePlaintext()
                .build();
        try {
            CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(5, TimeUnit.SECONDS);
            ClientCalls.blockingUnaryCall(channel, bytesMethod("grpc.health.v1.Health", "Check"), options, new byte[0]);
        } catch (StatusRuntimeException error) {
            // Then the host's first call is the first.
        } finally {
            channel.shutdownNow();
        }
    }

    private static void fail(String text) {
        System.err.println(text);
        System.exit(1);
    }

    private static Path socketPath() throws IOException {
        String folder = System.getenv("PLUGIN_UNIX_SOCKET_DIR");
        Path path = Files.createTempFile(Path.of(folder == null || folder.isEmpty() ? System.getProperty("java.io.tmpdir") : folder), "plugin", "");
        Files.delete(path);
        return path;
    }

    /** By Java's unsupported, and only, way to signals. */
    private static void onSignal(String name, Runnable action) {
        try {
            Class<?> signal = Class.forName("sun.misc.Signal");
            Class<?> handler = Class.forName("sun.misc.SignalHandler");
            Object ours = Proxy.newProxyInstance(Plugin.class.getClassLoader(), new Class<?>[] {handler}, (self, method, given) -> {
                if (method.getName().equals("handle")) {
                    action.run();
                    return null;
                }
                return method.getName().equals("hashCode") ? (Object) System.identityHashCode(self) : Boolean.valueOf(self == given[0]);
            });
            signal.getMethod("handle", signal, handler).invoke(null, signal.getConstructor(String.class).newInstance(name), ours);
        } catch (ReflectiveOperationException | RuntimeException error) {
            // This Java has none, or keeps this signal (-Xrs): its own way holds.
        }
    }

    /** A plugin of a killed host would run for ever. */
    private static void watchParent() {
        ProcessHandle parent = ProcessHandle.current().parent().orElse(null);
        if (parent != null) {
            parent.onExit().thenRun(() -> Runtime.getRuntime().halt(1));
        }
    }

    private static String configOf(String[] arguments) {
        for (int place = 0; place < arguments.length; place++) {
            String[] parts = arguments[place].split("=", 2);
            if (!parts[0].equals("-c") && !parts[0].equals("--config")) {
                continue;
            }
            if (parts.length == 1 && place + 1 == arguments.length) {
                fail(parts[0] + " wants the name of a file: -c config.json");
            }
            String file = parts.length == 2 ? parts[1] : arguments[place + 1];
            try {
                return Files.readString(Path.of(file));
            } catch (IOException error) {
                throw new UncheckedIOException("cannot read the configuration " + file, error);
            }
        }
        return "";
    }

    private static Level levelOf(String text) {
        for (Level level : Level.values()) {
            if (text != null && text.toUpperCase(Locale.ROOT).equals(level.name())) {
                return level;
            }
        }
        return Level.INFO;
    }

    /** grpc.health.v1: SERVING. */
    private static ServerServiceDefinition health() {
        return bytes("grpc.health.v1.Health", "Check", () -> new byte[] {8, 1});
    }

    /** plugin.GRPCController: the host ends the plugin. */
    private static ServerServiceDefinition controller(CountDownLatch over) {
        return bytes("plugin.GRPCController", "Shutdown", () -> {
            THREADS.execute(() -> {
                try {
                    Thread.sleep(10); // for the answer to leave
                } catch (InterruptedException error) {
                    Thread.currentThread().interrupt();
                }
                over.countDown();
            });
            return new byte[0];
        });
    }

    private static MethodDescriptor<byte[], byte[]> bytesMethod(String service, String method) {
        MethodDescriptor.Marshaller<byte[]> raw = new MethodDescriptor.Marshaller<>() {
            @Override
            public InputStream stream(byte[] value) {
                return new ByteArrayInputStream(value);
            }

            @Override
            public byte[] parse(InputStream stream) {
                try {
                    return stream.readAllBytes();
                } catch (IOException error) {
                    throw new UncheckedIOException(error);
                }
            }
        };
        return MethodDescriptor.<byte[], byte[]>newBuilder()
                .setType(MethodDescriptor.MethodType.UNARY)
                .setFullMethodName(MethodDescriptor.generateFullMethodName(service, method))
                .setRequestMarshaller(raw)
                .setResponseMarshaller(raw)
                .build();
    }

    private static ServerServiceDefinition bytes(String service, String method, java.util.function.Supplier<byte[]> answer) {
        MethodDescriptor<byte[], byte[]> descriptor = bytesMethod(service, method);
        BindableService bindable = () -> ServerServiceDefinition.builder(service)
                .addMethod(descriptor, ServerCalls.asyncUnaryCall((request, caller) -> {
                    caller.onNext(answer.get());
                    caller.onCompleted();
                }))
                .build();
        return bindable.bindService();
    }
}
