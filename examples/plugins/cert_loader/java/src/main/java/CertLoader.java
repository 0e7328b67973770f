import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import transom.sdk.Certificate;
import transom.sdk.CertificateSource;
import transom.sdk.Config;
import transom.sdk.Plugin;

/** A plugin that gives the certificate in the files of its configuration, by default those in ./certs. */
public final class CertLoader {
    private CertLoader() {}

    /** Serves it. */
    public static void main(String[] arguments) {
        new Plugin("cert_loader", "1.0.0").certificates("", CertLoader::parse).serve(arguments);
    }

    static CertificateSource parse(Config config) {
        Config.Fields fields = config.fields();
        Path chain = Path.of(fields.text("chain", "./certs/cert.pem"));
        Path key = Path.of(fields.text("key", "./certs/key.pem"));
        String authorities = fields.text("ca", "");
        fields.finish();
        // Read again each time, so that a new certificate is used within a minute.
        return serverName -> new Certificate(
                read(chain), read(key), authorities.isEmpty() ? new byte[0] : read(Path.of(authorities)), Duration.ofMinutes(1));
    }

    private static byte[] read(Path file) throws IOException {
        try {
            return Files.readAllBytes(file);
        } catch (IOException error) {
            throw new IOException("cannot read the certificate " + file, error);
        }
    }
}
