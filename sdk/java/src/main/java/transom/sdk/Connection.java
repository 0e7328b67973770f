package transom.sdk;

import com.google.protobuf.ByteString;
import java.util.Map;
import transom.plugin.v1.ActionOuterClass.Action;
import transom.plugin.v1.ActionOuterClass.Inject;
import transom.plugin.v1.ActionOuterClass.ReplaceBody;
import transom.plugin.v1.ActionOuterClass.Unit;
import transom.plugin.v1.Work;

/** A connection, as a network filter sees it. */
public final class Connection extends Flow {
    private byte[] bytes = new byte[0];
    private boolean changed;
    private NetworkFilter filter;

    Connection(long id, Port port, Service.Ready used, Level level, Work.ConnectionBegin begin) {
        super(id, port, used, level, begin.getAttributesMap());
        if (used.fault != null) {
            fail(used.fault);
            return;
        }
        guarded(() -> filter = used.makeNetworkFilter());
    }

    /** The bytes that this call shows: all that wait. */
    public byte[] bytes() {
        return bytes;
    }

    /** Replaces them. */
    public void setBytes(byte[] data) {
        bytes = data;
        changed = true;
    }

    /** Sends bytes of the filter's own on from here: towards the host (REQUEST) or the client (RESPONSE). */
    public void inject(Direction direction, byte[] data, boolean end) {
        ask(Action.newBuilder()
                .setInject(Inject.newBuilder().setDirectionValue(direction.ordinal()).setData(ByteString.copyFrom(data)).setEnd(end)));
    }

    /** Lets go what waits here after STOP. */
    public void resume(Direction direction) {
        ask(Action.newBuilder().setResumeValue(direction.ordinal()));
    }

    /** Has the tcp_proxy at the chain's end take this cluster, one of those that the extension names. */
    public void chooseCluster(String cluster) {
        ask(Action.newBuilder().setChooseCluster(cluster));
    }

    /** Ends the connection after what was written has left. */
    public void close() {
        ask(Action.newBuilder().setTerminate(Unit.getDefaultInstance()));
    }

    /** Ends the connection at once. */
    public void reset() {
        ask(Action.newBuilder().setReset(Unit.getDefaultInstance()));
    }

    synchronized void begins(long callback) {
        NetworkVerdict[] verdict = {NetworkVerdict.CONTINUE};
        call(() -> verdict[0] = filter.newConnection(this));
        port.answer(id, callback, verdict[0].ordinal(), take());
    }

    synchronized void bytesArrive(long callback, int direction, ByteString data, boolean end) {
        bytes = data.toByteArray();
        changed = false;
        NetworkVerdict[] verdict = {NetworkVerdict.CONTINUE};
        call(() -> verdict[0] = direction == 0 ? filter.clientData(this, end) : filter.hostData(this, end));
        if (changed) {
            ask(Action.newBuilder().setBody(ReplaceBody.newBuilder().setDirectionValue(direction).setData(ByteString.copyFrom(bytes))));
        }
        port.answer(id, callback, verdict[0].ordinal(), take());
    }

    synchronized void ends(ResetReason by) {
        endWaits(Map.of());
        call(() -> filter.closed(this, by));
    }

    private void call(Runnable code) {
        if (!failed && filter != null) {
            guarded(code);
        }
    }
}
