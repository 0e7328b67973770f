package transom.sdk;

/**
 * A filter of one stream. A subclass overrides the methods that it needs: what it does not override is not sent to the plugin. Methods of one stream are
 * called one at a time and answer at once; to wait, see {@link Stream#later}.
 */
public abstract class StreamFilter {
    /** The request's headers have come; end: they are all of it. */
    public HeadersVerdict requestHeaders(Stream stream, boolean end) {
        return HeadersVerdict.CONTINUE;
    }

    /** A part of the request's body has come: {@link Stream#body}. */
    public DataVerdict requestBody(Stream stream, boolean end) {
        return DataVerdict.CONTINUE;
    }

    /** The request's trailers have come. */
    public TrailersVerdict requestTrailers(Stream stream) {
        return TrailersVerdict.CONTINUE;
    }

    /** The response's headers have come. */
    public HeadersVerdict responseHeaders(Stream stream, boolean end) {
        return HeadersVerdict.CONTINUE;
    }

    /** A part of the response's body has come. */
    public DataVerdict responseBody(Stream stream, boolean end) {
        return DataVerdict.CONTINUE;
    }

    /** The response's trailers have come. */
    public TrailersVerdict responseTrailers(Stream stream) {
        return TrailersVerdict.CONTINUE;
    }

    /** The stream ended before its time. */
    public void reset(Stream stream, ResetReason reason) {}

    /** The stream is over, well or not; the access log follows. */
    public void complete(Stream stream) {}
}
