package transom.sdk;

import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.netty.handler.ssl.ClientAuth;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContext;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContextBuilder;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslProvider;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.SecureRandom;
import java.security.Signature;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.ECGenParameterSpec;
import java.util.Arrays;
import java.util.Base64;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.X509ExtendedTrustManager;

/**
 * AutoMTLS, go-plugin's mutual TLS with certificates that live as long as their processes. The host gives its certificate as PEM in PLUGIN_CLIENT_CERT, the
 * plugin's stands in the handshake line, and each side accepts that very certificate and no other.
 */
final class Mtls {
    private final X509Certificate host;
    private final X509Certificate own;
    private final KeyPair key;

    /** For the host with this certificate. */
    Mtls(String hostPem) throws GeneralSecurityException {
        try {
            host = read(hostPem.getBytes(StandardCharsets.US_ASCII));
        } catch (CertificateException error) {
            throw new CertificateException("the host's certificate (PLUGIN_CLIENT_CERT) cannot be read: " + error.getMessage(), error);
        }
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        key = generator.generateKeyPair();
        own = read(certificate(key));
    }

    /** What stands in the handshake line. */
    String certificate() throws GeneralSecurityException {
        return Base64.getEncoder().withoutPadding().encodeToString(own.getEncoded());
    }

    SslContext context() throws IOException {
        // Java's own: BoringSSL, which comes with gRPC, refuses the P-521 keys of hosts in Go.
        SslContextBuilder builder = SslContextBuilder.forServer(key.getPrivate(), own);
        return GrpcSslContexts.configure(builder, SslProvider.JDK)
                .trustManager(new Pin(host))
                .clientAuth(ClientAuth.REQUIRE)
                .protocols("TLSv1.3", "TLSv1.2")
                .build();
    }

    private static X509Certificate read(byte[] text) throws CertificateException {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        return (X509Certificate) factory.generateCertificate(new ByteArrayInputStream(text));
    }

    /** Accepts one certificate; that its owner has the key is seen by TLS. */
    private static final class Pin extends X509ExtendedTrustManager {
        private final X509Certificate host;

        Pin(X509Certificate host) {
            this.host = host;
        }

        private void check(X509Certificate[] chain) throws CertificateException {
            if (chain.length == 0 || !Arrays.equals(chain[0].getEncoded(), host.getEncoded())) {
                throw new CertificateException("this is not the host that started the plugin");
            }
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) throws CertificateException {
            check(chain);
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket) throws CertificateException {
            check(chain);
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type) throws CertificateException {
            check(chain);
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) throws CertificateException {
            check(chain);
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket) throws CertificateException {
            check(chain);
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type) throws CertificateException {
            check(chain);
        }

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            // Hosts do not choose by it, and Go's certificate has no name to be found by.
            return new X509Certificate[0];
        }
    }

    // What follows writes the certificate, for which Java has no public interface: RFC 5280, section 4.1, in DER.

    private static final int SEQUENCE = 0x30;
    private static final int SET = 0x31;
    private static final int INTEGER = 0x02;
    private static final int BITS = 0x03;
    private static final int BYTES = 0x04;
    private static final int TRUE = 0x01;
    private static final int UTF8 = 0x0c;
    private static final int UTC_TIME = 0x17;
    private static final int TIME = 0x18;
    /** ecdsa-with-SHA256, RFC 5758. */
    private static final byte[] ALGORITHM = tlv(SEQUENCE, oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));

    /** A self-signed certificate for `localhost`: Go's hosts ask for the name, and for both usages if there are any. */
    private static byte[] certificate(KeyPair key) throws GeneralSecurityException {
        byte[] serial = new byte[16];
        new SecureRandom().nextBytes(serial);
        serial[0] = (byte) (serial[0] & 0x3f | 0x40); // positive, and without a leading zero
        byte[] name = tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, oid(0x55, 0x04, 0x03), tlv(UTF8, ascii("localhost")))));
        byte[] validity = tlv(SEQUENCE, tlv(UTC_TIME, ascii("200101000000Z")), tlv(TIME, ascii("20991231235959Z")));
        byte[] extensions = tlv(
                SEQUENCE,
                // subjectAltName: dNSName
                extension(oid(0x55, 0x1d, 0x11), false, tlv(SEQUENCE, tlv(0x82, ascii("localhost")))),
                // keyUsage: digitalSignature, keyEncipherment
                extension(oid(0x55, 0x1d, 0x0f), true, tlv(BITS, new byte[] {5, (byte) 0xa0})),
                // extKeyUsage: serverAuth, clientAuth
                extension(oid(0x55, 0x1d, 0x25), false, tlv(SEQUENCE, usage(1), usage(2))));
        byte[] body = tlv(
                SEQUENCE,
                tlv(0xa0, tlv(INTEGER, new byte[] {2})), // version 3
                tlv(INTEGER, serial),
                ALGORITHM,
                name,
                validity,
                name,
                key.getPublic().getEncoded(), // a SubjectPublicKeyInfo already
                tlv(0xa3, extensions));
        Signature signature = Signature.getInstance("SHA256withECDSA");
        signature.initSign(key.getPrivate());
        signature.update(body);
        return tlv(SEQUENCE, body, ALGORITHM, tlv(BITS, new byte[] {0}, signature.sign()));
    }

    private static byte[] extension(byte[] oid, boolean isCritical, byte[] value) {
        byte[] critical = isCritical ? tlv(TRUE, new byte[] {(byte) 0xff}) : new byte[0];
        return tlv(SEQUENCE, oid, critical, tlv(BYTES, value));
    }

    /** id-kp and a number. */
    private static byte[] usage(int number) {
        return oid(0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, number);
    }

    private static byte[] oid(int... encoded) {
        byte[] bytes = new byte[encoded.length];
        for (int at = 0; at < encoded.length; at++) {
            bytes[at] = (byte) encoded[at];
        }
        return tlv(0x06, bytes);
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    /** Tag, length, value. */
    private static byte[] tlv(int tag, byte[]... parts) {
        ByteArrayOutputStream value = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            value.writeBytes(part);
        }
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        all.write(tag);
        int length = value.size();
        if (length >= 0x100) {
            all.write(0x82);
            all.write(length >> 8);
        } else if (length >= 0x80) {
            all.write(0x81);
        }
        all.write(length);
        all.writeBytes(value.toByteArray());
        return all.toByteArray();
    }
}
