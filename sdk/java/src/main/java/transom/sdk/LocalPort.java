package transom.sdk;

import com.google.protobuf.ByteString;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import transom.plugin.v1.ActionOuterClass.Action;
import transom.plugin.v1.ActionOuterClass.CalloutDone;
import transom.plugin.v1.ActionOuterClass.CalloutError;
import transom.plugin.v1.ActionOuterClass.CalloutResponse;
import transom.plugin.v1.ActionOuterClass.ChangeFields;
import transom.plugin.v1.ActionOuterClass.Event;
import transom.plugin.v1.ActionOuterClass.SetMetadata;
import transom.plugin.v1.ActionOuterClass.Shared;
import transom.plugin.v1.ActionOuterClass.SharedResult;
import transom.plugin.v1.Http;

/** The host of one request in this process: a call of MOSN's, or a trial. */
final class LocalPort implements Port {
    /** Shared data where the host has none. */
    static final class Store {
        private final Map<String, Map.Entry<ByteString, Integer>> values = new HashMap<>();

        synchronized SharedResult perform(Shared shared) {
            if (!shared.hasSet()) {
                Map.Entry<ByteString, Integer> there = values.get(shared.getGet());
                SharedResult.Builder result = SharedResult.newBuilder().setKey(shared.getGet()).setDone(true);
                return (there == null ? result : result.setValue(there.getKey()).setVersion(there.getValue())).build();
            }
            String key = shared.getSet().getKey();
            Map.Entry<ByteString, Integer> there = values.get(key);
            int version = there == null ? 0 : there.getValue();
            SharedResult.Builder result = SharedResult.newBuilder().setKey(key);
            if (shared.getSet().hasVersion() && shared.getSet().getVersion() != version) {
                return result.build();
            }
            if (shared.getSet().hasValue()) {
                values.put(key, Map.entry(shared.getSet().getValue(), version + 1));
            } else {
                values.remove(key);
            }
            return result.setDone(true).build();
        }
    }

    private final Store store;
    private final Map<String, CalloutResponse> callouts;
    private final boolean timesPass;
    Stream stream;
    int verdict;
    final CompletableFuture<Void> settled = new CompletableFuture<>();
    Http.LocalReply reply;
    String failure = "";
    final List<ChangeFields> changes = new ArrayList<>();
    final ByteString[] bodies = new ByteString[2];
    final List<SetMetadata> metadata = new ArrayList<>();
    final List<String> logs = new ArrayList<>();

    LocalPort(Store store, Map<String, CalloutResponse> callouts, boolean timesPass) {
        this.store = store;
        this.callouts = callouts;
        this.timesPass = timesPass;
    }

    /** Has a request pass. */
    void pass(List<Http.Field> headers, ByteString body, List<Http.Field> trailers, Duration patience) throws TimeoutException {
        stream.headersArrive(1, 0, headers, body.isEmpty() && trailers.isEmpty());
        if (verdict >= 2) {
            await(patience);
        }
        if (!body.isEmpty() && goesOn()) {
            stream.dataArrives(2, 0, body, trailers.isEmpty());
        }
        if (!trailers.isEmpty() && goesOn()) {
            stream.trailersArrive(3, 0, trailers);
        }
        if (verdict != 0) {
            await(patience);
        }
    }

    private boolean goesOn() {
        return reply == null && failure.isEmpty();
    }

    private void await(Duration patience) throws TimeoutException {
        try {
            settled.get(patience.toMillis(), TimeUnit.MILLISECONDS);
        } catch (java.util.concurrent.ExecutionException | InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public Executor executor() {
        return Plugin.THREADS;
    }

    @Override
    public void answer(long id, long callback, int given, List<Action> actions) {
        verdict = given;
        actions(id, actions);
    }

    @Override
    public synchronized void actions(long id, List<Action> actions) {
        actions.forEach(this::apply);
        if (!goesOn()) {
            settled.complete(null);
        }
    }

    private void apply(Action action) {
        switch (action.getActionCase()) {
            case FIELDS:
                changes.add(action.getFields());
                break;
            case BODY:
                bodies[action.getBody().getDirectionValue()] = action.getBody().getData();
                break;
            case RESUME:
                settled.complete(null);
                break;
            case LOCAL_REPLY:
                reply = action.getLocalReply();
                break;
            case TERMINATE:
                reply = Http.LocalReply.getDefaultInstance();
                break;
            case FAIL:
                failure = action.getFail();
                break;
            case METADATA:
                metadata.add(action.getMetadata());
                break;
            case LOG:
                logs.add(action.getLog().getMessage());
                break;
            case TIMER:
                tell(Event.newBuilder().setTimer(action.getTimer().getTimer()), timesPass ? 0 : action.getTimer().getAfterMs());
                break;
            case HTTP_CALL:
                callout(action.getHttpCall().getCallout(), action.getHttpCall().getCluster());
                break;
            case GRPC_CALL:
                callout(action.getGrpcCall().getCallout(), action.getGrpcCall().getCluster());
                break;
            case SHARED:
                tell(Event.newBuilder().setShared(store.perform(action.getShared())), 0);
                break;
            default:
        }
    }

    private void callout(long number, String cluster) {
        CalloutDone.Builder done = CalloutDone.newBuilder().setCallout(number);
        CalloutResponse response = callouts.get(cluster);
        if (response == null) {
            done.setError(CalloutError.UNSUPPORTED);
        } else {
            done.setResponse(response);
        }
        tell(Event.newBuilder().setCallout(done), 0);
    }

    private void tell(Event.Builder event, long afterMs) {
        Executor later = CompletableFuture.delayedExecutor(afterMs, TimeUnit.MILLISECONDS, Plugin.THREADS);
        later.execute(() -> stream.happened(event.build()));
    }
}
