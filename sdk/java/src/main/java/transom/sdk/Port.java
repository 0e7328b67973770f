package transom.sdk;

import java.util.List;
import java.util.concurrent.Executor;
import transom.plugin.v1.ActionOuterClass.Action;

/** Where answers and actions go: the host's worker, a call of MOSN's, or a trial. */
interface Port {
    void answer(long id, long callback, int verdict, List<Action> actions);

    void actions(long id, List<Action> actions);

    /** Where what filters wait for goes on. */
    Executor executor();
}
