"""What cases over TLS need beside the others: certificates.

One certificate for each kind of key, made once per run with openssl(1), so that every proxy shows the same.
"""

import shutil
import ssl
import subprocess
from pathlib import Path

# The kinds of keys, as `openssl req -newkey` takes them.
KEYS = {
    "rsa2048": ("-newkey", "rsa:2048"),
    "p256": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
}


def certificate(folder: Path, kind: str) -> tuple[Path, Path]:
    """The files of a certificate and its key."""
    return folder / f"{kind}.pem", folder / f"{kind}.key"


def make_certificate(folder: Path, kind: str) -> None:
    """Makes them unless they are there."""
    certificate_file, key = certificate(folder, kind)
    if not certificate_file.exists():
        command = ["openssl", "req", "-x509", *KEYS[kind], "-nodes", "-days", "30", "-subj", "/CN=bench.test"]
        command += ["-addext", "subjectAltName=DNS:bench.test", "-keyout", str(key), "-out", str(certificate_file)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def lines(peer: str, folder: Path, kind: str, resume: bool) -> str:
    """What stands in place of `# @TLS@` in a peer's configuration."""
    certificate_file, key = certificate(folder, kind)
    if peer == "nginx":
        # Versions and curves as Transom has them; all else is nginx's default, records of 16 KiB and session tickets among it.
        return (
            "        ssl_protocols TLSv1.2 TLSv1.3;\n"
            f"        ssl_certificate {certificate_file};\n"
            f"        ssl_certificate_key {key};\n"
            + ("" if resume else "        ssl_session_tickets off;\n        ssl_session_cache off;\n")
        )
    tickets = "" if resume else ", session_tickets: 0"
    return f"    tls: {{certificates: [{{certificate: {certificate_file}, private_key: {key}}}]{tickets}}}\n"


def client() -> ssl.SSLContext:
    """Believes any certificate: it is looked at whether a proxy answers, not who it is."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def is_missing() -> bool:
    return shutil.which("openssl") is None
