package transom.sdk;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class SdkTest {
    @Test
    void jsonIsReadAndWhatIsNoneIsRefused() {
        Object read = Json.read("{\"a\": [1, -2.5e1, true, null, \"x\\u00e9\\n\"], \"b\": {}}");
        assertEquals(List.of("a", "b"), List.copyOf(((Map<?, ?>) read).keySet()));
        List<?> list = (List<?>) ((Map<?, ?>) read).get("a");
        assertEquals(1L, list.get(0));
        assertEquals(-25.0, list.get(1));
        assertNull(list.get(3));
        assertEquals("xé\n", list.get(4));
        for (String wrong : List.of("{", "[1,]", "01", "tru", "\"\\x\"", "1 2", "{\"a\" 1}", "[".repeat(300))) {
            assertThrows(Fault.class, () -> Json.read(wrong), wrong);
        }
    }

    @Test
    void aMistakeIsKnownByTheWayToIt() {
        Fault fault = assertThrows(Fault.class, () -> new Config("{\"ms\": \"long\"}").fields().integer("ms", 0, 5));
        assertEquals(List.of("ms"), fault.path());
        assertEquals("expected a whole number, found the text \"long\"", fault.text());
        Config.Fields fields = new Config("{\"sm\": 1}").fields();
        assertEquals(7, fields.integer("ms", 0, 9, 7));
        assertEquals(List.of("sm"), assertThrows(Fault.class, fields::finish).path());
        assertThrows(Fault.class, () -> new Config("").fields().text("a"));
        assertThrows(Fault.class, () -> new Config("[]").mapOfText());
    }

    private static FilterType<Boolean> type(java.util.function.Supplier<StreamFilter> make) {
        return FilterType.of(
                "",
                config -> {
                    config.nothing();
                    return true;
                },
                settings -> make.get());
    }

    private static final class Edit extends StreamFilter {
        @Override
        public HeadersVerdict requestHeaders(Stream stream, boolean end) {
            Headers headers = stream.request();
            assertEquals("example.test", headers.get("Host"));
            headers.set("a", "4");
            headers.add("B", "5");
            headers.remove("c");
            assertThrows(IllegalArgumentException.class, () -> headers.set("Connection", "x"));
            assertThrows(IllegalArgumentException.class, () -> headers.set("a b", "x"));
            assertThrows(IllegalArgumentException.class, () -> headers.set("a", "x\r\n"));
            assertThrows(IllegalArgumentException.class, () -> headers.remove(":path"));
            assertThrows(IllegalStateException.class, () -> stream.response().set("a", "b"));
            return HeadersVerdict.CONTINUE;
        }
    }

    @Test
    void headersKeepTheirOrderAndRefuseWhatTheProxyRefuses() {
        Trial.Outcome outcome = new Trial(type(Edit::new)).header("A", "1").header("c", "2").run();
        assertEquals("", outcome.failure());
        assertEquals(List.of(Map.entry("A", "4"), Map.entry("B", "5")), outcome.request().entries().subList(4, 6));
    }

    private static final class Waiter extends StreamFilter {
        @Override
        public HeadersVerdict requestHeaders(Stream stream, boolean end) {
            return stream.later(stream.sleep(java.time.Duration.ofHours(1))
                    .thenCompose(nothing -> stream.call(HttpCall.get("auth", "auth", "/")))
                    .thenCompose(answer -> stream.run(() -> answer.headers().get("x-user")))
                    .thenApply(user -> {
                        stream.request().set("x-user", user);
                        return HeadersVerdict.CONTINUE;
                    }));
        }
    }

    @Test
    void whatWaitsGoesOn() {
        FilterType<Boolean> waiter = type(Waiter::new).clusters(settings -> List.of("auth"));
        Trial.Outcome outcome = new Trial(waiter).callout("auth", 200, Map.of("x-user", "alice")).run();
        assertEquals("", outcome.failure());
        assertEquals("alice", outcome.request().get("x-user"));
        assertTrue(new Trial(waiter).run().failure().contains("UNSUPPORTED"));
    }

    private static final class Longer extends StreamFilter {
        @Override
        public DataVerdict requestBody(Stream stream, boolean end) {
            stream.setBody(Direction.REQUEST, "longer".getBytes(StandardCharsets.US_ASCII));
            return DataVerdict.CONTINUE;
        }
    }

    @Test
    void aChangedLengthThatWasNotAnnouncedFails() {
        byte[] body = {'x'};
        assertTrue(new Trial(type(Longer::new)).header("content-length", "1").body(body).run().failure().contains("length"));
        byte[] sent = new Trial(type(Longer::new)).body(body).run().requestBody();
        assertArrayEquals("longer".getBytes(StandardCharsets.US_ASCII), sent);
    }

    @Test
    void aFilterIsSentWhatItOverrides() {
        assertEquals(1, Callbacks.of(new Waiter(), type(Waiter::new)));
        assertEquals(1 | 2, Callbacks.of(new Longer(), type(Longer::new)));
        assertEquals(1 | 2 | 128, Callbacks.of(new Longer(), type(Longer::new).changesLength(true, false)));
    }
}
