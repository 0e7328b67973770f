package transom.sdk;

/** Where certificates come from. */
public interface CertificateSource {
    /** The certificate for the name that a client asks for, or null; for "" (asked first) there must be one. It may block. */
    Certificate certificate(String serverName) throws Exception;
}
