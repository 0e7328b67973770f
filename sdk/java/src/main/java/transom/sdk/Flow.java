package transom.sdk;

import com.google.protobuf.ByteString;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.function.Supplier;
import transom.plugin.v1.ActionOuterClass;
import transom.plugin.v1.ActionOuterClass.Action;
import transom.plugin.v1.ActionOuterClass.CalloutDone;
import transom.plugin.v1.ActionOuterClass.CountMetric;
import transom.plugin.v1.ActionOuterClass.Event;
import transom.plugin.v1.ActionOuterClass.SetMetadata;
import transom.plugin.v1.ActionOuterClass.SetTimer;
import transom.plugin.v1.ActionOuterClass.Shared;
import transom.plugin.v1.ActionOuterClass.SharedResult;
import transom.plugin.v1.ActionOuterClass.SharedSet;
import transom.plugin.v1.Http.Value;

/** What streams and connections have in common: they ask for things, and wait for what comes of it. All of one is done under its lock. */
public abstract class Flow {
    final long id;
    final Port port;
    final Service.Ready used;
    private final Level level;
    private final Map<String, Value> attributes;
    private List<Action> actions = new ArrayList<>();
    private final Map<Long, CompletableFuture<Event>> waits = new HashMap<>();
    private final Deque<CompletableFuture<Event>> shared = new ArrayDeque<>();
    private long last;
    boolean failed;
    boolean over;

    Flow(long id, Port port, Service.Ready used, Level level, Map<String, Value> attributes) {
        this.id = id;
        this.port = port;
        this.used = used;
        this.level = level;
        this.attributes = new HashMap<>(attributes);
    }

    /** What the host knows (text, Long, Boolean, Double), if the extension names it in its attributes; else null. */
    public final Object attribute(String name) {
        Value value = attributes.get(name);
        return value == null ? null : Values.fromWire(value);
    }

    /** Dynamic metadata, for later filters and the access log: null, a Boolean, number, text, byte[], List or Map. */
    public final void setMetadata(String namespace, String key, Object value) {
        ask(Action.newBuilder()
                .setMetadata(SetMetadata.newBuilder().setNamespace(namespace).setKey(key).setValue(Values.toWire(value))));
    }

    /** Writes a line into the host's log. */
    public final void log(Level of, String message) {
        if (of.compareTo(level) >= 0) {
            ask(Action.newBuilder().setLog(ActionOuterClass.Log.newBuilder().setLevelValue(of.ordinal()).setMessage(message)));
        }
    }

    /** Adds to a counter or gauge, or records a number in a distribution. */
    public final void count(int metric, long amount) {
        ask(Action.newBuilder().setMetric(CountMetric.newBuilder().setMetric(metric).setAmount(amount)));
    }

    /** Records a duration in a histogram. */
    public final void observe(int metric, Duration duration) {
        count(metric, duration.toNanos());
    }

    /** Adds a response flag, such as UAEX. */
    public final void addResponseFlag(String letters) {
        ask(Action.newBuilder().setResponseFlag(letters));
    }

    /** Reports that the plugin failed here: the use's failure policy holds, and the filter is not called again. */
    public final void fail(String text) {
        failed = true;
        ask(Action.newBuilder().setFail(text));
    }

    /** Asks a cluster that the extension names; fails with {@link CalloutException}. */
    public final CompletableFuture<CallResponse> call(HttpCall call) {
        ActionOuterClass.HttpCall.Builder wire = ActionOuterClass.HttpCall.newBuilder()
                .setCluster(call.cluster())
                .addHeaders(Headers.field(":method", call.method()))
                .addHeaders(Headers.field(":path", call.path()))
                .addHeaders(Headers.field(":authority", call.authority()))
                .addAllHeaders(Headers.fields(call.headers()))
                .setBody(ByteString.copyFrom(call.body()))
                .setTimeoutMs(call.timeout().toMillis());
        return callout(call.cluster(), number -> Action.newBuilder().setHttpCall(wire.setCallout(number)));
    }

    /** Makes a unary gRPC call with an encoded message. */
    public final CompletableFuture<CallResponse> callGrpc(
            String cluster, String service, String method, Map<String, String> metadata, byte[] message, Duration timeout) {
        ActionOuterClass.GrpcCall.Builder wire = ActionOuterClass.GrpcCall.newBuilder()
                .setCluster(cluster)
                .setService(service)
                .setMethod(method)
                .addAllMetadata(Headers.fields(metadata))
                .setMessage(ByteString.copyFrom(message))
                .setTimeoutMs(timeout.toMillis());
        return callout(cluster, number -> Action.newBuilder().setGrpcCall(wire.setCallout(number)));
    }

    /** Ends after a time, by the host's clock. */
    public final CompletableFuture<Void> sleep(Duration time) {
        return wait(number -> Action.newBuilder().setTimer(SetTimer.newBuilder().setTimer(number).setAfterMs(time.toMillis())))
                .thenAccept(event -> {});
    }

    /** Runs code that blocks on a thread of its own. */
    public final <T> CompletableFuture<T> run(Supplier<T> work) {
        return CompletableFuture.supplyAsync(work, Plugin.THREADS);
    }

    /** A value of the host's shared data, which all plugins, workers and filters see. */
    public final CompletableFuture<SharedValue> sharedGet(String key) {
        return askShared(Shared.newBuilder().setGet(key))
                .thenApply(result -> new SharedValue(result.hasValue() ? result.getValue().toByteArray() : null, result.getVersion()));
    }

    /** Sets (or, with null, removes) a value; whether it was done. */
    public final CompletableFuture<Boolean> sharedSet(String key, byte[] value) {
        return sharedSet(SharedSet.newBuilder().setKey(key), value);
    }

    /** The same, only if what is there has this version (0: if nothing is there). */
    public final CompletableFuture<Boolean> sharedCompareAndSet(String key, byte[] value, int version) {
        return sharedSet(SharedSet.newBuilder().setKey(key).setVersion(version), value);
    }

    private CompletableFuture<Boolean> sharedSet(SharedSet.Builder set, byte[] value) {
        if (value != null) {
            set.setValue(ByteString.copyFrom(value));
        }
        return askShared(Shared.newBuilder().setSet(set)).thenApply(SharedResult::getDone);
    }

    private synchronized CompletableFuture<SharedResult> askShared(Shared.Builder operation) {
        CompletableFuture<Event> result = new CompletableFuture<>();
        shared.add(result);
        ask(Action.newBuilder().setShared(operation));
        flushUnlessCalled();
        return result.thenApply(Event::getShared);
    }

    private CompletableFuture<CallResponse> callout(String cluster, java.util.function.LongFunction<Action.Builder> action) {
        if (!used.clusters.contains(cluster)) {
            return CompletableFuture.failedFuture(new CalloutException("NOT_ALLOWED"));
        }
        return wait(action).thenApply(event -> {
            CalloutDone done = event.getCallout();
            if (!done.hasResponse()) {
                throw new CalloutException(done.hasError() ? done.getError().name() : "UNAVAILABLE");
            }
            Headers headers = new Headers(done.getResponse().getHeadersList());
            return new CallResponse(
                    Integer.parseInt(headers.get(":status", "0")),
                    headers,
                    done.getResponse().getBody().toByteArray(),
                    new Headers(done.getResponse().getTrailersList()));
        });
    }

    private synchronized CompletableFuture<Event> wait(java.util.function.LongFunction<Action.Builder> action) {
        CompletableFuture<Event> result = new CompletableFuture<>();
        if (over) {
            result.completeExceptionally(new GoneException());
            return result;
        }
        last++;
        waits.put(last, result);
        ask(action.apply(last));
        flushUnlessCalled();
        return result;
    }

    final synchronized void ask(Action.Builder action) {
        actions.add(action.build());
    }

    final synchronized List<Action> take() {
        List<Action> taken = actions;
        actions = new ArrayList<>();
        return taken;
    }

    final synchronized void flush() {
        List<Action> taken = take();
        if (!taken.isEmpty() && !over) {
            port.actions(id, taken);
        }
    }

    /** Code that runs outside of a callback has nobody who sends what it asks for. */
    private boolean called;

    private void flushUnlessCalled() {
        if (!called) {
            flush();
        }
    }

    /** Runs code of the plugin. What it throws is a failure of this stream, and of no other. */
    final synchronized void guarded(Runnable code) {
        boolean before = called;
        called = true;
        try {
            code.run();
        } catch (Throwable thrown) {
            failWith(thrown);
        } finally {
            called = before;
        }
    }

    final void failWith(Throwable thrown) {
        Throwable cause = thrown instanceof CompletionException && thrown.getCause() != null ? thrown.getCause() : thrown;
        if (!(cause instanceof GoneException)) {
            fail("the filter threw " + cause);
        }
    }

    /** Hands an event to who waits for it; what that does is sent. */
    final void happened(Event event) {
        CompletableFuture<Event> result = null;
        synchronized (this) {
            switch (event.getEventCase()) {
                case TIMER:
                    result = waits.remove(event.getTimer());
                    break;
                case CALLOUT:
                    result = waits.remove(event.getCallout().getCallout());
                    break;
                case SHARED:
                    result = shared.poll();
                    break;
                default:
            }
            if (result != null) {
                CompletableFuture<Event> waiting = result;
                guarded(() -> waiting.complete(event));
                flush();
            }
        }
    }

    /** Whatever waits ends. */
    final synchronized void endWaits(Map<String, Value> more) {
        attributes.putAll(more);
        over = true;
        List<CompletableFuture<Event>> all = new ArrayList<>(waits.values());
        all.addAll(shared);
        waits.clear();
        shared.clear();
        for (CompletableFuture<Event> one : all) {
            one.completeExceptionally(new GoneException());
        }
    }

    /** Goes on when a stage has ended, on the port's executor and under the lock. */
    final <V> void when(CompletionStage<V> stage, java.util.function.BiConsumer<V, Throwable> then) {
        stage.whenComplete((value, thrown) -> port.executor().execute(() -> {
            synchronized (this) {
                if (!over) {
                    guarded(() -> then.accept(value, thrown));
                    flush();
                }
            }
        }));
    }
}
