package transom.sdk;

import java.util.List;
import java.util.function.Function;

/**
 * A log that a plugin keeps for the host.
 *
 * @param <S> what its configuration is read into
 */
public final class LogSink<S> {
    /** What takes a batch. */
    @FunctionalInterface
    public interface Keep<S> {
        /** Takes lines, without their line feeds. As {@link AccessLog.Keep#log} in all else. */
        void write(S settings, List<byte[]> lines, long lost) throws Exception;
    }

    final String name;
    final Function<Config, S> parse;
    final Keep<S> keep;
    String schema = "";

    private LogSink(String name, Function<Config, S> parse, Keep<S> keep) {
        this.name = name;
        this.parse = parse;
        this.keep = keep;
    }

    /** A log under a name; empty for the only one. */
    public static <S> LogSink<S> of(String name, Function<Config, S> parse, Keep<S> keep) {
        return new LogSink<>(name, parse, keep);
    }

    /** The JSON schema of its configuration. */
    public LogSink<S> schema(String json) {
        schema = json;
        return this;
    }
}
