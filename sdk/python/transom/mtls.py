"""AutoMTLS, go-plugin's mutual TLS with certificates that live as long as their processes.

The host gives its certificate as PEM in PLUGIN_CLIENT_CERT, the plugin's stands in the handshake line, and each side accepts that very
certificate and no other. gRPC's own TLS (BoringSSL) refuses the P-521 keys of hosts in Go: so TLS ends here, by Python's own, and plain bytes go
on to the server, over a Unix socket in a folder that nobody else may enter.
"""

import asyncio
import base64
import datetime
import os
import shutil
import ssl
import tempfile

# What is read at once: a frame of HTTP/2 and its head.
PIECE = 64 * 1024


class Front:
    """Before a server on `inner`: speaks TLS with the host, and with nobody else."""

    def __init__(self, host: str):
        """`host`: its certificate, as PEM. What is missing or wrong is a ValueError."""
        try:
            self._host = ssl.PEM_cert_to_DER_cert(host.strip())
        except ValueError as error:
            raise ValueError(f"the host's certificate (PLUGIN_CLIENT_CERT) cannot be read: {error}") from error
        certificate, key = generate()
        self._folder = tempfile.mkdtemp(prefix="plugin-tls")
        self.inner = os.path.join(self._folder, "grpc")
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        # The host's certificate is its own authority, and may not call itself one.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=host)
        context.set_alpn_protocols(["h2"])
        # A resumed session would pass by the certificates.
        context.num_tickets = 0
        file = os.path.join(self._folder, "own.pem")
        with open(file, "wb") as opened:
            opened.write(key + certificate)
        context.load_cert_chain(file)
        os.unlink(file)
        self.certificate = base64.b64encode(ssl.PEM_cert_to_DER_cert(certificate.decode())).decode().rstrip("=")

    async def listen(self, path: str):
        """Takes the host's connections on a Unix socket."""
        return await asyncio.start_unix_server(self._serve, path, ssl=self._context)

    def close(self):
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _serve(self, reader, writer):
        try:
            if writer.get_extra_info("ssl_object").getpeercert(True) != self._host:
                return
            inward, outward = await asyncio.open_unix_connection(self.inner)
            ways = [asyncio.ensure_future(pump(reader, outward)), asyncio.ensure_future(pump(inward, writer))]
            # A gRPC connection that ends in one direction is over.
            _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in rest:
                way.cancel()
            outward.close()
        except OSError:
            pass  # the host, or the server here, has gone
        finally:
            writer.close()


async def pump(reader, writer):
    try:
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass  # the other way ends too


def generate() -> tuple[bytes, bytes]:
    """A certificate for `localhost` and its key, as PEM: Go's hosts ask for the name, and for both usages if there are any."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError as error:
        raise ValueError("the host asks for AutoMTLS, and that takes the package `cryptography`: pip install cryptography") from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    usages = {"digital_signature": True, "key_encipherment": True}
    others = ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    both = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of two processes of one machine are the same clock, but for what was set back meanwhile.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * 30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.KeyUsage(**usages, **dict.fromkeys(others, False)), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), text
