package transom.sdk;

import java.util.List;
import java.util.function.Function;

/**
 * An access log that a plugin keeps.
 *
 * @param <S> what its configuration is read into
 */
public final class AccessLog<S> {
    /** What takes a batch. */
    @FunctionalInterface
    public interface Keep<S> {
        /**
         * Takes entries of one of the host's workers, in their order; lost were dropped before them, because this plugin was slow or away. It may block: until it
         * returns the host keeps what follows, and then drops the oldest. Calls of several workers come at once. What it throws ends the worker's call, and
         * the host begins another.
         */
        void log(S settings, List<LogEntry> entries, long lost) throws Exception;
    }

    final String name;
    final Function<Config, S> parse;
    final Keep<S> keep;
    String schema = "";
    List<String> attributes = List.of();
    List<String> requestHeaders = List.of();
    List<String> responseHeaders = List.of();

    private AccessLog(String name, Function<Config, S> parse, Keep<S> keep) {
        this.name = name;
        this.parse = parse;
        this.keep = keep;
    }

    /** A log under a name; empty for the only one. */
    public static <S> AccessLog<S> of(String name, Function<Config, S> parse, Keep<S> keep) {
        return new AccessLog<>(name, parse, keep);
    }

    /** Attributes that entries have; nothing else is sent. */
    public AccessLog<S> attributes(String... names) {
        attributes = List.of(names);
        return this;
    }

    /** Headers of requests that entries have. */
    public AccessLog<S> requestHeaders(String... names) {
        requestHeaders = List.of(names);
        return this;
    }

    /** Headers of responses that entries have. */
    public AccessLog<S> responseHeaders(String... names) {
        responseHeaders = List.of(names);
        return this;
    }

    /** The JSON schema of its configuration. */
    public AccessLog<S> schema(String json) {
        schema = json;
        return this;
    }
}
