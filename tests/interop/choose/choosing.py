"""The suite that the files of cases beside this one register with, the proxy that they start, and upstreams."""

import http.server
import os
import pathlib
import socket
import threading
import urllib.error
import urllib.request

from processes import TRANSOM, Program, UnixHTTPConnection
from suite import Suite, until

suite = Suite("choose")

# A listener before one cluster; filters and logs of the listener as they are given.
CONFIGURATION = """\
workers: 2
admin: {address: "unix:%(folder)s/admin.sock"}
listeners:
  - name: in
    address: 127.0.0.1:%(port)d
    network_filters:
      - name: http
        config:
          stream_filters: [%(filters)s]
          access_logs: [%(logs)s]
          virtual_hosts: [{domains: ["*"], routes: [{match: {prefix: /}, cluster: up}]}]
clusters:
  - {name: up, %(cluster)s}
"""


class Proxy(Program):
    """Transom, ready when this returns."""

    def __init__(self, folder: pathlib.Path, cluster: str, filters="", logs="", arguments=(), environment=None):
        self.port = free_port()
        self.admin = folder / "admin.sock"
        values = {"folder": folder, "port": self.port, "filters": filters, "logs": logs, "cluster": cluster}
        (folder / "transom.yaml").write_text(CONFIGURATION % values)
        command = [TRANSOM, "run", "-c", str(folder / "transom.yaml"), *arguments]
        super().__init__(command, folder, "transom", env={**os.environ, **(environment or {})})
        until(self.ready, "the proxy is ready")

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the proxy ended:\n{self.log.read_text()}")
        try:
            connection = UnixHTTPConnection(str(self.admin))
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def ask(self, path: str = "/", body: bytes | None = None) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def comes_to(self, wanted: tuple[int, str] | int):
        """The proxy answers so, soon."""
        def looks():
            seen = self.ask()
            return seen == wanted if isinstance(wanted, tuple) else seen[0] == wanted

        until(looks, f"the answer {wanted}; the log:\n{self.log.read_text()}\n")


class Upstream:
    """A server that answers its name."""

    def __init__(self, name: str, address: str = "127.0.0.1"):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                length = int(self.headers.get("content-length") or 0)
                self.rfile.read(length)
                self.send_response(200)
                self.send_header("content-length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.address = f"{address}:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
