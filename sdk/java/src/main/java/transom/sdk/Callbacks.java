package transom.sdk;

import java.util.Arrays;

/** The bits of callbacks: a filter is sent what its class overrides. Headers come with what follows them, because filters read them at any time. */
final class Callbacks {
    private static final String[] METHODS = {
        "requestHeaders", "requestBody", "requestTrailers", "responseHeaders", "responseBody", "responseTrailers", "complete"
    };

    private Callbacks() {}

    static int of(StreamFilter filter, FilterType<?> type) {
        int bits = 0;
        for (int bit = 0; bit < METHODS.length; bit++) {
            bits |= overrides(filter.getClass(), StreamFilter.class, METHODS[bit]) ? 1 << bit : 0;
        }
        bits |= type.wholeRequestBody > 0 ? 2 : 0;
        bits |= type.wholeResponseBody > 0 ? 16 : 0;
        bits |= (bits & (16 | 32)) != 0 ? 8 : 0;
        bits |= (bits & (2 | 4 | 8 | 64)) != 0 ? 1 : 0;
        return bits | (type.changesRequestLength ? 128 : 0) | (type.changesResponseLength ? 256 : 0);
    }

    static int of(NetworkFilter filter) {
        return (overrides(filter.getClass(), NetworkFilter.class, "clientData") ? 2 : 0)
                | (overrides(filter.getClass(), NetworkFilter.class, "hostData") ? 16 : 0);
    }

    private static boolean overrides(Class<?> filter, Class<?> base, String method) {
        for (Class<?> one = filter; one != base; one = one.getSuperclass()) {
            if (Arrays.stream(one.getDeclaredMethods()).anyMatch(own -> own.getName().equals(method) && !own.isSynthetic())) {
                return true;
            }
        }
        return false;
    }
}
