"""The suite that the files of cases beside this one register with, and the proxy that they start."""

import pathlib
import re
import signal
import socket
import subprocess

from processes import TRANSOM, Program, UnixHTTPConnection
from suite import Suite, until

suite = Suite("listeners")

ANSWER = "[{name: http, config: {virtual_hosts: [{domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 200, body: %s}}]}]}}]"


class Proxy(Program):
    """Transom with this configuration and an admin socket, ready when this returns."""

    def __init__(self, folder: pathlib.Path, configuration: str, name: str = "transom", **options):
        self.admin_path = folder / f"{name}-admin.sock"
        self.file = folder / f"{name}.yaml"
        self.write(configuration)
        super().__init__([TRANSOM, "run", "-c", str(self.file)], folder, name, **options)
        until(self.ready, "the proxy is ready")

    def write(self, configuration: str):
        self.file.write_text(f"workers: 2\nadmin: {{address: 'unix:{self.admin_path}'}}\n{configuration}")

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the proxy ended:\n{self.log.read_text()}")
        try:
            return self.get("/ready")[0] == 200
        except OSError:
            return False

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = UnixHTTPConnection(str(self.admin_path))
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    def metric(self, name: str, *labels: str) -> int:
        """The sum of a metric's samples that have these labels."""
        lines = re.findall(rf"^{name}(\{{.*\}})? (\d+)$", self.get("/metrics")[1], re.M)
        return sum(int(value) for given, value in lines if all(label in given for label in labels))

    def end(self):
        self.signal(signal.SIGTERM)
        self.exits_with(0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def refused(folder: pathlib.Path, configuration: str) -> str:
    """What the program says of a configuration that it cannot serve."""
    file = folder / "refused.yaml"
    file.write_text(configuration)
    run = subprocess.run([TRANSOM, "run", "-c", str(file)], capture_output=True, text=True, timeout=20)
    assert run.returncode in (1, 2), (run.returncode, run.stderr)
    return run.stderr


def ask(connection: socket.socket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return connection.recv(4096)
