package transom.sdk;

/** Where in the way of a request a filter's request callbacks run. The order is that of the numbers on the wire. */
public enum Phase {
    /** Before a route was looked for. */
    BEFORE_ROUTE,
    /** After that. */
    AFTER_ROUTE,
    /** After the host was chosen. */
    AFTER_CHOOSE_HOST
}
