package transom.sdk;

import java.util.Collection;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.Function;

/**
 * A stream filter that a plugin has: how its configuration is read, and how filters are made of what was read.
 *
 * @param <S> what was read
 */
public final class FilterType<S> {
    final String name;
    final Function<Config, S> parse;
    final Function<S, StreamFilter> make;
    Function<Config, ?> route;
    Function<S, Collection<String>> clusters = settings -> List.of();
    BiConsumer<S, Use> prepare = (settings, use) -> {};
    Phase phase = Phase.BEFORE_ROUTE;
    String schema = "";
    List<String> attributes = List.of();
    List<String> requestHeaders = List.of();
    List<String> responseHeaders = List.of();
    long wholeRequestBody;
    long wholeResponseBody;
    boolean changesRequestLength;
    boolean changesResponseLength;

    private FilterType(String name, Function<Config, S> parse, Function<S, StreamFilter> make) {
        this.name = name;
        this.parse = parse;
        this.make = make;
    }

    /** A filter under a name, which `extension:` of a use says; empty for the only one. parse touches nothing outside. */
    public static <S> FilterType<S> of(String name, Function<Config, S> parse, Function<S, StreamFilter> make) {
        return new FilterType<>(name, parse, make);
    }

    /** The configuration of a route, which {@link Stream#routeConfig} gives. */
    public FilterType<S> route(Function<Config, ?> read) {
        route = read;
        return this;
    }

    /** The clusters that callouts may go to. */
    public FilterType<S> clusters(Function<S, Collection<String>> named) {
        clusters = named;
        return this;
    }

    /** Makes a use ready, once: defines metrics. */
    public FilterType<S> prepare(BiConsumer<S, Use> ready) {
        prepare = ready;
        return this;
    }

    /** Where the request's callbacks run, unless the use says so. */
    public FilterType<S> phase(Phase where) {
        phase = where;
        return this;
    }

    /** The JSON schema of the configuration. */
    public FilterType<S> schema(String json) {
        schema = json;
        return this;
    }

    /** Attributes that the filter looks at; what follows from the messages need not be named. */
    public FilterType<S> attributes(String... names) {
        attributes = List.of(names);
        return this;
    }

    /** The only headers of requests that the filter looks at. */
    public FilterType<S> requestHeaders(String... names) {
        requestHeaders = List.of(names);
        return this;
    }

    /** The only headers of responses that the filter looks at. */
    public FilterType<S> responseHeaders(String... names) {
        responseHeaders = List.of(names);
        return this;
    }

    /** Request bodies come whole, up to so many bytes. */
    public FilterType<S> wholeRequestBody(long limit) {
        wholeRequestBody = limit;
        return this;
    }

    /** Response bodies come whole, up to so many bytes. */
    public FilterType<S> wholeResponseBody(long limit) {
        wholeResponseBody = limit;
        return this;
    }

    /** The filter may change the length of bodies of requests, of responses. */
    public FilterType<S> changesLength(boolean ofRequests, boolean ofResponses) {
        changesRequestLength = ofRequests;
        changesResponseLength = ofResponses;
        return this;
    }
}
