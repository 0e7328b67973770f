package transom.sdk;

/** The answer of a network filter. The order is that of the numbers on the wire. */
public enum NetworkVerdict {
    /** The bytes go on. */
    CONTINUE,
    /** They wait; more arrive and are added. */
    STOP
}
