"""Bodies that must arrive as they were sent: sizes, framings and directions, compared by hash."""

import hashlib
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from http1 import suite
from processes import Nginx, Transom, curl
from suite import equal

KIB, MIB = 1 << 10, 1 << 20
SIZES = {"nothing": 0, "one_byte": 1, "64_kib": 64 * KIB, "10_mib": 10 * MIB}


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class PythonServer:
    """Python's http.server: takes bodies of both framings and answers with their hash; gives bodies of both framings."""

    def __init__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = "127.0.0.1:%d" % self.server.server_address[1]

    def __enter__(self):
        # The interval is how long its end takes.
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        digest = hashlib.sha256()
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        if chunked:
            while size := int(self.rfile.readline() or b"0", 16):
                digest.update(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
        else:
            digest.update(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(f"{'chunked' if chunked else 'length'} {digest.hexdigest()}".encode())

    def do_GET(self):
        """`/length/SIZE`, `/chunked/SIZE`."""
        _, framing, size = self.path.split("/")
        body = content(int(size))
        if framing == "length":
            return self.answer(body)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # Sizes of chunks that meet every boundary of a buffer in time.
        at, step = 0, 1
        while at < len(body):
            chunk = body[at : at + step]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            at, step = at + step, min(step * 2 + 1, 100_000)
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, body: bytes):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def with_python_server(scene) -> Transom:
    server = scene.start(PythonServer())
    return scene.start(Transom(scene.folder, server.address))


def register(function, label: str, *arguments):
    def case(scene):
        return function(scene, *arguments)

    case.__name__ = f"{function.__name__}_{label}"
    suite.case(case)


def http_client_uploads(scene, size: int, chunked: bool):
    proxy = with_python_server(scene)
    body = content(size)
    client = proxy.client()
    # Twice on one connection: where the first ended must have been right.
    for _ in range(2):
        pieces = (body[at : at + 30_011] for at in range(0, size, 30_011))
        client.request("POST", "/", body=pieces if chunked else body, encode_chunked=chunked, headers=(
            {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}
        ))
        answer = client.getresponse()
        framing, digest = answer.read().decode().split()
        equal((answer.status, digest), (200, sha256(body)))
        # Chunks that are all there when their head leaves may go on with a length; nothing goes from length to chunks.
        assert chunked or framing == "length", framing
    client.close()


def http_client_downloads(scene, size: int, chunked: bool):
    proxy = with_python_server(scene)
    client = proxy.client()
    for _ in range(2):
        client.request("GET", f"/{'chunked' if chunked else 'length'}/{size}")
        answer = client.getresponse()
        body = answer.read()
        equal((answer.status, len(body), sha256(body)), (200, size, sha256(content(size))))
        equal(answer.getheader("Transfer-Encoding"), "chunked" if chunked else None)
        equal(answer.getheader("Content-Length"), None if chunked else str(size))
    client.close()


def curl_puts_to_nginx(scene, size: int, chunked: bool):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    sent = scene.folder / "sent"
    sent.write_bytes(content(size))
    framing = ["--header", "Transfer-Encoding: chunked"] if chunked else []
    equal(curl(*framing, "--upload-file", str(sent), "--write-out", "%{http_code}", f"{proxy.url}/files/put"), "201")
    stored = (scene.folder / "files/put").read_bytes()
    equal((len(stored), sha256(stored)), (size, sha256(sent.read_bytes())))


def curl_gets_from_nginx(scene, size: int):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    (scene.folder / "files/a").write_bytes(content(size))
    got = scene.folder / "got"
    got.touch()
    equal(curl("--output", str(got), "--write-out", "%{http_code}", f"{proxy.url}/files/a"), "200")
    equal((got.stat().st_size, sha256(got.read_bytes())), (size, sha256(content(size))))


for label, size in SIZES.items():
    for chunked in (False, True):
        framing = "chunked" if chunked else "with_length"
        register(http_client_uploads, f"{label}_{framing}", size, chunked)
        register(http_client_downloads, f"{label}_{framing}", size, chunked)
        # Of an empty file in chunks curl 7.88 sends the head, and then no last chunk.
        if size or not chunked:
            register(curl_puts_to_nginx, f"{label}_{framing}", size, chunked)
    register(curl_gets_from_nginx, label, size)
