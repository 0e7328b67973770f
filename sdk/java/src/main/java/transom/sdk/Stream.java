package transom.sdk;

import com.google.protobuf.ByteString;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionStage;
import java.util.function.Consumer;
import transom.plugin.v1.ActionOuterClass.Action;
import transom.plugin.v1.ActionOuterClass.HeaderMap;
import transom.plugin.v1.ActionOuterClass.HoldBack;
import transom.plugin.v1.ActionOuterClass.Inject;
import transom.plugin.v1.ActionOuterClass.ReplaceBody;
import transom.plugin.v1.ActionOuterClass.Unit;
import transom.plugin.v1.Http;
import transom.plugin.v1.Work;

/** A request and its response, as a filter sees them. */
public final class Stream extends Flow {
    private final Headers[] headers = {new Headers(this, HeaderMap.REQUEST_HEADERS), new Headers(this, HeaderMap.RESPONSE_HEADERS)};
    private final Headers[] trailers = {new Headers(this, HeaderMap.REQUEST_TRAILERS), new Headers(this, HeaderMap.RESPONSE_TRAILERS)};
    private final byte[][] bodies = new byte[2][];
    private boolean changed;
    private Object route;
    StreamFilter filter;

    Stream(long id, Port port, Service.Ready used, Level level, Work.StreamBegin begin) {
        super(id, port, used, level, begin.getAttributesMap());
        if (used.fault != null) {
            fail(used.fault);
            return;
        }
        guarded(() -> {
            filter = used.makeFilter();
            if (!begin.getRouteConfig().isEmpty()) {
                route = used.routeConfig(begin.getRouteConfig().toStringUtf8());
            }
        });
    }

    /** The request's headers. */
    public Headers request() {
        return headers[0];
    }

    /** The response's headers; empty before they came. */
    public Headers response() {
        return headers[1];
    }

    /** The request's trailers. At the end of a body that has none they can be added. */
    public Headers requestTrailers() {
        return trailers[0];
    }

    /** The response's trailers. */
    public Headers responseTrailers() {
        return trailers[1];
    }

    /** The request's path without its query. */
    public String path() {
        return request().get(":path", "").split("\\?", 2)[0];
    }

    /** What this call shows of a body. */
    public byte[] body(Direction direction) {
        byte[] shown = bodies[direction.ordinal()];
        return shown == null ? new byte[0] : shown;
    }

    /** Replaces what this call shows. Who changes its length says so: {@link FilterType#changesLength}. */
    public void setBody(Direction direction, byte[] data) {
        int which = direction.ordinal();
        if (bodies[which] == null) {
            throw new IllegalStateException("no body is shown here");
        }
        boolean may = direction == Direction.REQUEST ? used.changesRequestLength() : used.changesResponseLength();
        if (data.length != bodies[which].length && !may && headers[which].get("content-length") != null) {
            fail("it changed the length of a body without saying so");
            throw new IllegalStateException("the body's length was announced already");
        }
        bodies[which] = data;
        changed = true;
    }

    /** The use's configuration for the route, as {@link FilterType#route} read it; null if there is none. */
    public Object routeConfig() {
        return route;
    }

    /** Answers the request here: it does not go on. Headers callbacks answer STOP behind it. */
    public void reply(LocalReply reply) {
        ask(Action.newBuilder().setLocalReply(reply.wire()));
    }

    /** Has the stream wait until a verdict is there: `return stream.later(stream.call(…).thenApply(answer -> …))`. Other streams go on meanwhile. */
    public HeadersVerdict later(Direction direction, CompletionStage<HeadersVerdict> stage) {
        when(stage, (verdict, thrown) -> {
            if (thrown != null) {
                failWith(thrown);
            } else if ((verdict == HeadersVerdict.CONTINUE || verdict == HeadersVerdict.END_STREAM) && !failed) {
                resume(direction);
            }
        });
        return HeadersVerdict.STOP_ALL;
    }

    /** The same for a request. */
    public HeadersVerdict later(CompletionStage<HeadersVerdict> stage) {
        return later(Direction.REQUEST, stage);
    }

    /** Runs code on the stream, from any thread, when no method runs. It does nothing when the stream is gone. */
    public void post(Consumer<Stream> code) {
        port.executor().execute(() -> {
            synchronized (this) {
                if (!over && !failed) {
                    guarded(() -> code.accept(this));
                    flush();
                }
            }
        });
    }

    /** Lets go what waits here after a stop verdict. */
    public void resume(Direction direction) {
        headers[direction.ordinal()].released = true;
        ask(Action.newBuilder().setResumeValue(direction.ordinal()));
    }

    /** Sends bytes of the filter's own on from here; end: they end the body. */
    public void inject(Direction direction, byte[] data, boolean end) {
        ask(Action.newBuilder()
                .setInject(Inject.newBuilder().setDirectionValue(direction.ordinal()).setData(ByteString.copyFrom(data)).setEnd(end)));
    }

    /** Stops, or takes up again, reading the sender of a direction. */
    public void holdBack(Direction direction, boolean hold) {
        ask(Action.newBuilder().setHoldBack(HoldBack.newBuilder().setDirectionValue(direction.ordinal()).setHold(hold)));
    }

    /** Ends the stream without an answer. */
    public void terminate() {
        ask(Action.newBuilder().setTerminate(Unit.getDefaultInstance()));
    }

    /** Skips the filters behind this one in its request phase. */
    public void skipPhase() {
        ask(Action.newBuilder().setSkipPhase(Unit.getDefaultInstance()));
    }

    /** Has later filters and the router look for the route anew. */
    public void clearRoute() {
        ask(Action.newBuilder().setClearRoute(Unit.getDefaultInstance()));
    }

    /** Looks for the route again and calls this filter again (phase AFTER_ROUTE). */
    public void rematchRoute() {
        ask(Action.newBuilder().setRematchRoute(Unit.getDefaultInstance()));
    }

    /** Chooses a host again and calls this filter again (phase AFTER_CHOOSE_HOST). */
    public void rechooseHost() {
        ask(Action.newBuilder().setRechooseHost(Unit.getDefaultInstance()));
    }

    synchronized void headersArrive(long callback, int direction, List<Http.Field> fields, boolean end) {
        headers[direction].arrive(fields);
        HeadersVerdict[] verdict = {HeadersVerdict.CONTINUE};
        call(() -> verdict[0] = direction == 0 ? filter.requestHeaders(this, end) : filter.responseHeaders(this, end));
        if (verdict[0] == HeadersVerdict.CONTINUE || verdict[0] == HeadersVerdict.END_STREAM) {
            headers[direction].released = true;
        }
        port.answer(id, callback, verdict[0].ordinal(), take());
    }

    synchronized void dataArrives(long callback, int direction, ByteString data, boolean end) {
        bodies[direction] = data.toByteArray();
        changed = false;
        if (end && !trailers[direction].there) {
            trailers[direction].arrive(List.of());
        }
        DataVerdict[] verdict = {DataVerdict.CONTINUE};
        call(() -> verdict[0] = direction == 0 ? filter.requestBody(this, end) : filter.responseBody(this, end));
        if (changed) {
            ask(Action.newBuilder()
                    .setBody(ReplaceBody.newBuilder().setDirectionValue(direction).setData(ByteString.copyFrom(bodies[direction]))));
        }
        bodies[direction] = null;
        if (verdict[0] == DataVerdict.CONTINUE) {
            headers[direction].released = true;
        }
        port.answer(id, callback, verdict[0].ordinal(), take());
    }

    synchronized void trailersArrive(long callback, int direction, List<Http.Field> fields) {
        trailers[direction].arrive(fields);
        TrailersVerdict[] verdict = {TrailersVerdict.CONTINUE};
        call(() -> verdict[0] = direction == 0 ? filter.requestTrailers(this) : filter.responseTrailers(this));
        port.answer(id, callback, verdict[0].ordinal(), take());
    }

    /** The end; without a callback's number nobody waits for an answer. */
    synchronized void ends(long callback, ResetReason reset, Map<String, Http.Value> attributes) {
        endWaits(attributes);
        if (reset != null) {
            call(() -> filter.reset(this, reset));
        }
        if (callback != 0) {
            call(() -> filter.complete(this));
            port.answer(id, callback, 0, take());
        }
    }

    private void call(Runnable code) {
        if (!failed && filter != null) {
            guarded(code);
        }
    }
}
