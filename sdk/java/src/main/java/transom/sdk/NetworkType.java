package transom.sdk;

import java.util.Collection;
import java.util.List;
import java.util.function.Function;

/**
 * A network filter that a plugin has.
 *
 * @param <S> what its configuration is read into
 */
public final class NetworkType<S> {
    final String name;
    final Function<Config, S> parse;
    final Function<S, NetworkFilter> make;
    Function<S, Collection<String>> clusters = settings -> List.of();
    String schema = "";
    List<String> attributes = List.of();

    private NetworkType(String name, Function<Config, S> parse, Function<S, NetworkFilter> make) {
        this.name = name;
        this.parse = parse;
        this.make = make;
    }

    /** A filter under a name; empty for the only one. */
    public static <S> NetworkType<S> of(String name, Function<Config, S> parse, Function<S, NetworkFilter> make) {
        return new NetworkType<>(name, parse, make);
    }

    /** The clusters that callouts, and connections, may go to. */
    public NetworkType<S> clusters(Function<S, Collection<String>> named) {
        clusters = named;
        return this;
    }

    /** Attributes that the filter looks at. */
    public NetworkType<S> attributes(String... names) {
        attributes = List.of(names);
        return this;
    }
}
