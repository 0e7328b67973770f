package transom.sdk;

import java.time.Duration;

/** A certificate with its key, as PEM. clientAuthorities may be empty; refreshAfter zero: when it ends. */
public record Certificate(byte[] chain, byte[] key, byte[] clientAuthorities, Duration refreshAfter) {
    /** A certificate that is asked for again after a time. */
    public Certificate(byte[] chain, byte[] key, Duration refreshAfter) {
        this(chain, key, new byte[0], refreshAfter);
    }
}
