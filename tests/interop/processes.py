"""The programs that a suite starts, and ends by their ids: Transom and its peers."""

import grp
import json
import os
import pathlib
import pwd
import re
import signal
import socket
import subprocess
import threading
import time
from http.client import HTTPConnection

from suite import ROOT, equal, needs, until

TRANSOM = os.environ.get("TRANSOM", str(ROOT / "target/release/transom"))

# A listener before one cluster; `%(…)s` is filled in.
CONFIGURATION = """\
workers: 2
admin: {address: "unix:%(folder)s/admin.sock"}
listeners:
  - name: ingress
    address: %(listen)s
    network_filters:
      - name: http
        config:
          stream_filters: [%(filters)s]
          virtual_hosts:
            - domains: ["*"]
              routes: [%(routes)s{match: {prefix: /}, cluster: backend}]
          timeouts: {%(timeouts)s}
clusters:
  - {name: backend, endpoints: ["%(upstream)s"]}
"""

# Cases that wait on purpose are not to be hurried.
PATIENT = "body_idle: 120s, write_idle: 120s, stream: 300s"
HEADER_MATCH = "{name: header_match, config: {User: admin}}"


def two_filters() -> str:
    """`header_match`, and a filter that touches heads both ways."""
    schema = subprocess.run([TRANSOM, "schema"], check=True, capture_output=True, text=True).stdout
    if '"header_mutation"' in schema:
        second = "{name: header_mutation, config: {request: {set: {x-a: b}}, response: {set: {x-c: d}}}}"
    else:
        second = "{name: noop}"
    return f"{HEADER_MATCH}, {second}"


class Program:
    """A process with its output in a file."""

    def __init__(self, command: list[str], folder: pathlib.Path, name: str, **options):
        self.log = folder / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, stdout=log, **options)

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def signal(self, number: signal.Signals):
        self.process.send_signal(number)

    def exits_with(self, code: int, seconds: float = 20):
        equal(self.process.wait(seconds), code, f"exit code; the log:\n{self.log.read_text()}\n")


class Transom(Program):
    """The proxy before `upstream`, ready when this returns."""

    def __init__(
        self,
        folder: pathlib.Path,
        upstream: str,
        filters: str = "",
        listen: str = "127.0.0.1:0",
        timeouts: str = PATIENT,
        routes: str = "",
    ):
        self.folder = folder
        self.file = folder / "transom.yaml"
        self.values = {
            "folder": folder,
            "listen": listen,
            "upstream": upstream,
            "filters": filters,
            "timeouts": timeouts,
            "routes": routes,
        }
        self.write()
        super().__init__([TRANSOM, "run", "-c", str(self.file)], folder, "transom")
        self.address = until(self.ready, "the proxy is ready")

    def write(self, **changes):
        self.file.write_text(CONFIGURATION % (self.values | changes))

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the proxy ended:\n{self.log.read_text()}")
        listening = listening_ports(self.pid)
        if not listening or not (self.folder / "admin.sock").exists():
            return None
        try:
            status, _ = self.admin("GET", "/ready")
        except OSError:
            return None
        return ("127.0.0.1", listening[0]) if status == 200 else None

    def admin(self, method: str, path: str) -> tuple[int, bytes]:
        connection = UnixHTTPConnection(str(self.folder / "admin.sock"))
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    @property
    def url(self) -> str:
        return "http://%s:%d" % self.address

    def connect(self, timeout: float = 20) -> socket.socket:
        connection = socket.create_connection(self.address, timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def client(self, timeout: float = 20) -> HTTPConnection:
        return HTTPConnection(*self.address, timeout=timeout)

    def memory(self) -> int:
        """Resident bytes."""
        return self.status("VmRSS")

    def peak_memory(self) -> int:
        """The most resident bytes that there ever were."""
        return self.status("VmHWM")

    def status(self, key: str) -> int:
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{key}:\s+(\d+) kB", text, re.M)[1]) << 10

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class UnixHTTPConnection(HTTPConnection):
    def __init__(self, path: str):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def listening_ports(pid: int) -> list[int]:
    """The TCP ports on which a process listens, as the kernel has it."""
    inodes = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(entry.path)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            ports.add(int(fields[1].split(":")[1], 16))
    return sorted(ports)


NGINX = """\
daemon off;
user %(user)s;
worker_processes 1;
error_log stderr warn;
pid %(folder)s/nginx.pid;
events { worker_connections 8192; }
http {
    access_log off;
    default_type application/octet-stream;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path %(folder)s/nginx-body;
    proxy_temp_path %(folder)s/nginx-proxy;
    fastcgi_temp_path %(folder)s/nginx-fastcgi;
    uwsgi_temp_path %(folder)s/nginx-uwsgi;
    scgi_temp_path %(folder)s/nginx-scgi;
    server {
        listen 127.0.0.1:%(port)d;
        location / { return 200 "$request_uri\\n"; }
        location /files/ {
            root %(folder)s;
            dav_methods PUT;
            create_full_put_path on;
        }
        location /empty { return 204; }
        location /cookies {
            add_header Set-Cookie "a=1";
            add_header Set-Cookie "b=2";
            return 200 "cookies\\n";
        }%(more)s
    }
}
"""


class Nginx(Program):
    """nginx as an upstream: files of `folder`/files to get and put, and short answers."""

    def __init__(self, folder: pathlib.Path, more: str = ""):
        (folder / "files").mkdir()
        # nginx takes over a bound socket: so its port is the kernel's choice.
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % listener.getsockname()[1]
        configuration = folder / "nginx.conf"
        # Its worker writes into a folder of ours.
        user = pwd.getpwuid(os.getuid()).pw_name + " " + grp.getgrgid(os.getgid()).gr_name
        values = {"folder": folder, "port": listener.getsockname()[1], "user": user, "more": more}
        configuration.write_text(NGINX % values)
        super().__init__(
            [needs("nginx"), "-p", str(folder), "-c", str(configuration)],
            folder,
            "nginx",
            env=os.environ | {"NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
        )
        listener.close()


class Listener:
    """An upstream of Python: `serve(connection)` in a thread for each connection."""

    def __init__(self, serve):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.serve = serve
        self.connections = 0
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            threading.Thread(target=self.guard, args=[connection], daemon=True).start()

    def guard(self, connection: socket.socket):
        with connection:
            try:
                self.serve(connection)
            except OSError:
                pass  # The proxy has ended, or the case has.

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for closing in [self.socket, *self.open]:
            try:
                closing.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            closing.close()


def read_head(connection: socket.socket, behind: bytearray | None = None) -> bytes:
    """Reads to the end of a head; `behind` takes what came with it. Empty at the connection's end."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            return b""
        received += more
    head, rest = received.split(b"\r\n\r\n", 1)
    if behind is not None:
        behind += rest
    return head + b"\r\n\r\n"


def read_exactly(connection: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        more = connection.recv(min(65536, count - len(received)))
        if not more:
            raise AssertionError(f"the connection ended after {len(received)} of {count} bytes")
        received += more
    return bytes(received)


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while more := connection.recv(65536):
        received += more
    return received


def curl(*arguments: str, code: int = 0) -> str:
    """What curl prints, its line ends all made LF; its exit code must be `code`."""
    command = [needs("curl"), "--silent", "--show-error", "--max-time", "120", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape")
    equal(run.returncode, code, f"curl's exit code ({run.stderr.strip()})")
    return run.stdout


WRK_REPORT = """\
done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format('{"requests": %d, "errors": [%d, %d, %d, %d, %d]}\\n',
        summary.requests, e.connect, e.read, e.write, e.status, e.timeout))
end
"""


class Wrk(Program):
    """wrk against a URL for some seconds."""

    def __init__(self, folder: pathlib.Path, url: str, seconds: int, connections: int = 32):
        script = folder / "report.lua"
        script.write_text(WRK_REPORT)
        command = [needs("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
        super().__init__(command, folder, "wrk")
        self.end = time.monotonic() + seconds

    def is_loading(self) -> bool:
        # The last moment is left out: a request at the very end is cut off by wrk itself.
        return time.monotonic() < self.end - 0.2

    def result(self) -> dict:
        self.exits_with(0, 60)
        return json.loads(self.log.read_text().strip().splitlines()[-1])
