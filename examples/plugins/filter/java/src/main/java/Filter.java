import java.util.Map;
import transom.sdk.Config;
import transom.sdk.FilterType;
import transom.sdk.HeadersVerdict;
import transom.sdk.LocalReply;
import transom.sdk.Plugin;
import transom.sdk.Stream;
import transom.sdk.StreamFilter;

/** A plugin that lets requests pass only if they have the headers of its configuration: {"User": "admin"}. */
public final class Filter extends StreamFilter {
    static final FilterType<Map<String, String>> TYPE = FilterType.of("", Config::mapOfText, Filter::new);

    private final Map<String, String> wanted;

    Filter(Map<String, String> wanted) {
        this.wanted = wanted;
    }

    /** Serves it. */
    public static void main(String[] arguments) {
        new Plugin("filter", "1.0.0").filter(TYPE).serve(arguments);
    }

    @Override
    public HeadersVerdict requestHeaders(Stream stream, boolean end) {
        for (Map.Entry<String, String> one : wanted.entrySet()) {
            if (!one.getValue().equals(stream.request().get(one.getKey()))) {
                stream.reply(LocalReply.of(403, "a required header is missing\n", "filter_denied"));
                return HeadersVerdict.STOP;
            }
        }
        return HeadersVerdict.CONTINUE;
    }
}
