package transom.sdk;

/** A value of the host's shared data (null if there is none), and its version (0 if there is none). */
public record SharedValue(byte[] bytes, int version) {}
