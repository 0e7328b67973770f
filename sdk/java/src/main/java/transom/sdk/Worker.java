package transom.sdk;

import io.grpc.stub.StreamObserver;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import transom.plugin.v1.ActionOuterClass.Action;
import transom.plugin.v1.Work.Actions;
import transom.plugin.v1.Work.Answer;
import transom.plugin.v1.Work.ConnectionBegin;
import transom.plugin.v1.Work.Credit;
import transom.plugin.v1.Work.Hello;
import transom.plugin.v1.Work.StreamBegin;
import transom.plugin.v1.Work.ToHost;
import transom.plugin.v1.Work.ToPlugin;

/** One worker of the host: all its streams and connections, and what is said to it, within its credit. gRPC hands its messages one at a time. */
final class Worker implements StreamObserver<ToPlugin>, Port {
    /** Callbacks, and bytes of bodies, that the host may have under way. */
    private static final long MESSAGES = 8192;
    private static final long BYTES = 16 << 20;

    private final Service service;
    private final StreamObserver<ToHost> host;
    private final Map<Long, Stream> streams = new ConcurrentHashMap<>();
    private final Map<Long, Connection> connections = new ConcurrentHashMap<>();
    private final Deque<ToHost> waiting = new ArrayDeque<>();
    private long messages;
    private long bytes;
    private long usedMessages;
    private long usedBytes;
    private boolean over;

    Worker(Service service, StreamObserver<ToHost> host) {
        this.service = service;
        this.host = host;
        Credit credit = Credit.newBuilder().setMessages(MESSAGES).setBytes(BYTES).build();
        host.onNext(ToHost.newBuilder().setHello(Hello.newBuilder().setRevision(Service.REVISION).setCredit(credit)).build());
    }

    @Override
    public void onNext(ToPlugin message) {
        long id = message.getStream();
        long callback = message.getCallback();
        if (callback != 0) {
            used(message.hasData() ? message.getData().getData().size() : message.hasBytes() ? message.getBytes().getData().size() : 0);
        }
        switch (message.getMessageCase()) {
            case HELLO:
                granted(message.getHello().getCredit());
                return;
            case CREDIT:
                granted(message.getCredit());
                return;
            case STREAM_BEGIN:
                begin(id, message.getStreamBegin());
                return;
            case CONNECTION_BEGIN:
                ConnectionBegin begin = message.getConnectionBegin();
                Connection connection = new Connection(id, this, service.use(begin.getUseId()), service.level, begin);
                connections.put(id, connection);
                connection.begins(callback);
                return;
            case HEADERS:
                if (message.getHeaders().hasBegin()) {
                    begin(id, message.getHeaders().getBegin());
                }
                break;
            default:
        }
        Stream stream = streams.get(id);
        if (stream != null) {
            forStream(stream, callback, message);
            return;
        }
        Connection connection = connections.get(id);
        if (connection != null) {
            forConnection(connection, callback, message);
        }
    }

    private void begin(long id, StreamBegin begin) {
        streams.put(id, new Stream(id, this, service.use(begin.getUseId()), service.level, begin));
    }

    private void forStream(Stream stream, long callback, ToPlugin message) {
        switch (message.getMessageCase()) {
            case HEADERS:
                stream.headersArrive(
                        callback,
                        message.getHeaders().getDirectionValue() & 1,
                        message.getHeaders().getFieldsList(),
                        message.getHeaders().getEnd());
                break;
            case DATA:
                stream.dataArrives(
                        callback, message.getData().getDirectionValue() & 1, message.getData().getData(), message.getData().getEnd());
                break;
            case TRAILERS:
                stream.trailersArrive(callback, message.getTrailers().getDirectionValue() & 1, message.getTrailers().getFieldsList());
                break;
            case COMPLETE:
                streams.remove(stream.id);
                stream.ends(
                        callback,
                        message.getComplete().hasReset() ? reason(message.getComplete().getResetValue()) : null,
                        message.getComplete().getAttributesMap());
                break;
            case GONE:
                streams.remove(stream.id);
                stream.ends(0, message.getGone().hasReason() ? reason(message.getGone().getReasonValue()) : null, Map.of());
                break;
            case EVENT:
                stream.happened(message.getEvent());
                answer(stream.id, callback, 0, List.of());
                break;
            default:
                if (callback != 0) {
                    answer(stream.id, callback, 0, List.of());
                }
        }
    }

    private void forConnection(Connection connection, long callback, ToPlugin message) {
        switch (message.getMessageCase()) {
            case BYTES:
                connection.bytesArrive(
                        callback, message.getBytes().getDirectionValue() & 1, message.getBytes().getData(), message.getBytes().getEnd());
                break;
            case CLOSED:
            case GONE:
                connections.remove(connection.id);
                connection.ends(reason(message.getClosed().getByValue()));
                break;
            case EVENT:
                connection.happened(message.getEvent());
                answer(connection.id, callback, 0, List.of());
                break;
            default:
                if (callback != 0) {
                    answer(connection.id, callback, 0, List.of());
                }
        }
    }

    private static ResetReason reason(int number) {
        ResetReason[] all = ResetReason.values();
        return number >= 0 && number < all.length ? all[number] : ResetReason.LOCAL;
    }

    @Override
    public void onError(Throwable thrown) {
        end();
    }

    @Override
    public void onCompleted() {
        end();
        synchronized (host) {
            host.onCompleted();
        }
    }

    private void end() {
        synchronized (host) {
            over = true;
        }
        streams.values().forEach(stream -> stream.endWaits(Map.of()));
        connections.values().forEach(connection -> connection.endWaits(Map.of()));
    }

    @Override
    public Executor executor() {
        return Plugin.THREADS;
    }

    @Override
    public void answer(long id, long callback, int verdict, List<Action> actions) {
        Answer answer = Answer.newBuilder().addAllActions(actions).setVerdict(verdict).build();
        say(ToHost.newBuilder().setStream(id).setCallback(callback).setAnswer(answer).build());
    }

    @Override
    public void actions(long id, List<Action> actions) {
        say(ToHost.newBuilder().setStream(id).setActions(Actions.newBuilder().addAllActions(actions)).build());
    }

    private void say(ToHost message) {
        synchronized (host) {
            if (waiting.isEmpty() && messages > 0 && bytes > 0) {
                send(message);
            } else {
                waiting.add(message);
            }
        }
    }

    private void granted(Credit credit) {
        synchronized (host) {
            messages = sum(messages, credit.getMessages());
            bytes = sum(bytes, credit.getBytes());
            while (!waiting.isEmpty() && messages > 0 && bytes > 0) {
                send(waiting.poll());
            }
            grant();
        }
    }

    private static long sum(long a, long b) {
        return Math.min(a, Long.MAX_VALUE / 2) + Math.min(b < 0 ? Long.MAX_VALUE : b, Long.MAX_VALUE / 2);
    }

    private void used(int size) {
        synchronized (host) {
            usedMessages++;
            usedBytes += size;
            grant();
        }
    }

    /** Gives back what the host has used, a half at a time. Not while answers wait, so that what waits has a bound. */
    private void grant() {
        if (!over && waiting.isEmpty() && (usedMessages >= MESSAGES / 2 || usedBytes >= BYTES / 2)) {
            Credit credit = Credit.newBuilder().setMessages(usedMessages).setBytes(usedBytes).build();
            usedMessages = 0;
            usedBytes = 0;
            host.onNext(ToHost.newBuilder().setCredit(credit).build());
        }
    }

    private void send(ToHost message) {
        messages--;
        for (Action action : message.hasAnswer() ? message.getAnswer().getActionsList() : message.getActions().getActionsList()) {
            bytes -= cost(action);
        }
        if (over) {
            return;
        }
        try {
            host.onNext(message);
        } catch (IllegalStateException | io.grpc.StatusRuntimeException gone) {
            over = true;
        }
    }

    private static int cost(Action action) {
        switch (action.getActionCase()) {
            case BODY:
                return action.getBody().getData().size();
            case INJECT:
                return action.getInject().getData().size();
            case LOCAL_REPLY:
                return action.getLocalReply().getBody().size();
            case HTTP_CALL:
                return action.getHttpCall().getBody().size();
            case GRPC_CALL:
                return action.getGrpcCall().getMessage().size();
            case SHARED:
                return action.getShared().getSet().getValue().size();
            default:
                return 0;
        }
    }
}
