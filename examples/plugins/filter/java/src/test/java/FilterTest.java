import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;
import transom.sdk.Trial;

class FilterTest {
    @Test
    void whoHasTheHeaderPasses() {
        assertEquals(0, status("admin"));
        assertEquals(403, status("guest"));
    }

    private static int status(String user) {
        return new Trial(Filter.TYPE).config("{\"User\": \"admin\"}").header("user", user).run().status();
    }
}
