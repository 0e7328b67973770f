package transom.sdk;

/** The answer to a callout. Of a gRPC call the body is the encoded message, and the trailers have grpc-status. */
public record CallResponse(int status, Headers headers, byte[] body, Headers trailers) {}
