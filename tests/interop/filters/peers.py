"""What the suite starts: an upstream of Python, Envoy and Transom before it. Each ends what it started, by its id."""

import json
import os
import pathlib
import queue
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = pathlib.Path(__file__).resolve().parents[3]
TRANSOM = os.environ.get("TRANSOM", str(ROOT / "target/release/transom"))
ENVOY = os.environ.get("ENVOY") or shutil.which("envoy")
WORKERS = 2


class Upstream:
    """Answers as the request's `x-reply` says ({status, headers, body, chunked}), and keeps what it got."""

    def __init__(self):
        self.seen: queue.Queue = queue.Queue()
        self.reply_field = "x-reply"
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # A head and its body in one segment: Nagle's algorithm would wait between them.
            wbufsize = -1

            def answer(self):
                if self.headers.get("transfer-encoding", "").lower() == "chunked":
                    body = self.read_chunks()
                else:
                    body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = [(name.lower(), value) for name, value in self.headers.items()]
                upstream.seen.put({"method": self.command, "path": self.path, "headers": headers, "body": body})
                reply = json.loads(self.headers.get(upstream.reply_field, "{}"))
                content = reply.get("body", "hello\n").encode()
                self.send_response(reply.get("status", 200))
                for name, value in reply.get("headers", {"content-type": "text/plain"}).items():
                    self.send_header(name, value)
                if reply.get("chunked"):
                    self.send_header("transfer-encoding", "chunked")
                    content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
                elif reply.get("status") not in (204, 304):
                    self.send_header("content-length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD" and reply.get("status") not in (204, 304):
                    self.wfile.write(content)

            def read_chunks(self) -> bytes:
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                return body

            do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = answer

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass  # A proxy that gives a request up is part of the test.

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def take(self) -> list[dict]:
        """What came since the last look."""
        seen = []
        while not self.seen.empty():
            seen.append(self.seen.get())
        return seen

    def wait(self, count: int, seconds: float = 5) -> list[dict]:
        """The next so many requests, for copies that come when they come."""
        end = time.monotonic() + seconds
        return [self.seen.get(timeout=max(0, end - time.monotonic())) for _ in range(count)]


class Proxy:
    """A process that listens on a port of its own choice."""

    def __init__(self, command: list[str], folder: pathlib.Path):
        self.log = folder / f"{type(self).__name__.lower()}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        end = time.monotonic() + 20
        while (port := self.find_port()) is None:
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise AssertionError(f"{type(self).__name__} is not ready:\n{self.log.read_text()}")
            time.sleep(0.01)
        self.port = port
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def find_port(self) -> int | None:
        raise NotImplementedError

    def ask(self, request: dict) -> dict:
        """One request on a connection of its own: {method, path, headers, body, chunks, source}."""
        source = request.get("source")
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10, source_address=(source, 0) if source else None)
        chunks = request.get("chunks")
        headers = {"Host": "a.test"} | request.get("headers", {})
        if chunks is not None:
            headers["Transfer-Encoding"] = "chunked"
        body = iter(chunks) if chunks is not None else request.get("body")
        try:
            method = request.get("method", "GET")
            try:
                connection.request(method, request.get("path", "/"), body, headers, encode_chunked=chunks is not None)
            except (BrokenPipeError, ConnectionResetError):
                pass  # Answered before the body's end; the answer is there to be read.
            answer = connection.getresponse()
            fields: dict[str, str] = {}
            for name, value in answer.getheaders():
                name = name.lower()
                fields[name] = f"{fields[name]}, {value}" if name in fields else value
            return {"status": answer.status, "headers": fields, "body": answer.read()}
        finally:
            connection.close()


class Envoy(Proxy):
    def __init__(self, folder: pathlib.Path, clusters: dict[str, int], filters: list, route: dict, manager: dict):
        self.admin = folder / "envoy-admin"
        bootstrap = folder / "envoy.json"
        bootstrap.write_text(json.dumps(envoy_bootstrap(clusters, filters, route, manager)))
        options = ["--disable-hot-restart", "--file-flush-interval-msec", "50", "--concurrency", str(WORKERS), "--log-level", "warning"]
        super().__init__([ENVOY, "-c", str(bootstrap), "--admin-address-path", str(self.admin), *options], folder)

    def find_port(self):
        try:
            url = f"http://{self.admin.read_text()}/listeners?format=json"
            with urllib.request.urlopen(url, timeout=5) as answer:
                statuses = json.load(answer).get("listener_statuses", [])
        except OSError:
            return None
        return statuses[0]["local_address"]["socket_address"]["port_value"] if statuses else None


def envoy_bootstrap(clusters: dict[str, int], filters: list, route: dict, manager: dict) -> dict:
    def address(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def typed(name, kind, config=None):
        url = f"type.googleapis.com/envoy.extensions.filters.{kind}"
        return {"name": name, "typed_config": {"@type": url, **(config or {})}}

    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "backend", **route.pop("route", {})}, **route}]
    chain = [typed(name, kind, config) for name, kind, config in filters]
    chain.append(typed("router", "http.router.v3.Router"))
    manager = {
        "stat_prefix": "ingress",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": chain,
        **manager,
    }
    http = typed("http", "network.http_connection_manager.v3.HttpConnectionManager", manager)
    return {
        "admin": {"address": address(0)},
        "static_resources": {
            "listeners": [{"name": "ingress", "address": address(0), "filter_chains": [{"filters": [http]}]}],
            "clusters": [
                {
                    "name": name,
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": name,
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
                    },
                }
                for name, port in clusters.items()
            ],
        },
    }


class Transom(Proxy):
    def __init__(self, folder: pathlib.Path, clusters: dict[str, int], filters: list, route: dict, manager: dict):
        file = folder / "transom.yaml"
        http = {
            "stream_filters": [{"name": name, "config": config} for name, config in filters],
            "virtual_hosts": [{"domains": ["*"], "routes": [{"match": {"prefix": "/"}, "cluster": "backend", **route}]}],
            **manager,
        }
        configuration = {
            "workers": WORKERS,
            "listeners": [
                {
                    "name": "ingress",
                    "address": "127.0.0.1:0",
                    "network_filters": [{"name": "http", "config": http}],
                }
            ],
            "clusters": [{"name": name, "endpoints": [f"127.0.0.1:{port}"]} for name, port in clusters.items()],
        }
        file.write_text(json.dumps(configuration))
        super().__init__([TRANSOM, "run", "-c", str(file)], folder)

    def find_port(self):
        """The one TCP port on which the process listens, as the kernel has it."""
        inodes = set()
        try:
            for entry in os.scandir(f"/proc/{self.process.pid}/fd"):
                target = os.readlink(entry.path)
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
            lines = pathlib.Path(f"/proc/{self.process.pid}/net/tcp").read_text().splitlines()
        except OSError:
            return None
        for line in lines[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                port = int(fields[1].split(":")[1], 16)
                with socket.socket() as probe:
                    return port if probe.connect_ex(("127.0.0.1", port)) == 0 else None
        return None
