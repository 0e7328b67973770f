package transom.sdk;

/** Levels of log lines. The order is that of the numbers on the wire. */
public enum Level {
    /** Every step. */
    TRACE,
    /** For finding faults. */
    DEBUG,
    /** Worth knowing. */
    INFO,
    /** Something is off. */
    WARN,
    /** Something failed. */
    ERROR
}
