"""What is compared, and how each one is started.

A peer is one entry in `PEERS`: its program, its command, and its configuration in `bench/peers/`, in which these are filled in:
`@LISTEN@` and `@UPSTREAM@` (address:port), `@LISTEN_PORT@` and `@UPSTREAM_PORT@`, `@WORKERS@`, `@CONNECTIONS@`, `@ADMIN_PORT@`, `@FOLDER@` (a temporary one), `# @USES@` and `# @PLUGINS@` (Transom's filters),
`@SSL@` and `# @TLS@` (what cases over TLS need, see tls.py).
"""

import http.client
import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import tls
from cases import Case

FOLDER = Path(__file__).resolve().parent / "peers"
# What wrk sends, and what Transom's `header_match` asks for.
HEADER = ("User", "admin")
READY_SECONDS = 10
ANSWER_SECONDS = 5
END_SECONDS = 5


@dataclass(frozen=True)
class Peer:
    name: str
    # The configuration for HTTP, and the one for TCP.
    config: str
    tcp_config: str
    # `{program}`, `{config}`, `{folder}` and `{workers}` are filled in.
    command: tuple[str, ...]
    # Requests without the header must get 403: the filter is really in the chain.
    filters: bool = False
    # Measured by --quick too.
    quick: bool = False

    def config_for(self, case: Case) -> str:
        return self.tcp_config if case.tcp else self.config


DIRECT = "direct"
_NGINX = ("{program}", "-e", "stderr", "-p", "{folder}", "-c", "{config}")
UPSTREAM = Peer("upstream", "upstream.conf", "upstream.conf", _NGINX)
PEERS = [
    Peer("nginx", "nginx.conf", "nginx-stream.conf", _NGINX, quick=True),
    # -db: in the foreground.
    Peer("haproxy", "haproxy.cfg", "haproxy-tcp.cfg", ("{program}", "-db", "-q", "-f", "{config}")),
    Peer(
        "envoy",
        "envoy.yaml",
        "envoy-tcp.yaml",
        ("{program}", "-c", "{config}", "--concurrency", "{workers}", "--disable-hot-restart", "--log-level", "error"),
    ),
    Peer("transom", "transom.yaml", "transom-tcp.yaml", ("{program}", "run", "-c", "{config}"), filters=True, quick=True),
]


class CannotStart(Exception):
    """A proxy that did not come up, or does not do what is measured."""


class Running:
    """A proxy's processes, on its cores, from start to end."""

    def __init__(self, peer: Peer, program: str, folder: Path, case: Case, core: int, upstream: str | None):
        self.peer = peer
        self.case = case
        self.address = f"127.0.0.1:{free_port()}"
        if case.tls:
            tls.make_certificate(folder.parent, case.tls)
        name = peer.config_for(case)
        config = folder / name
        config.write_text(self.filled_in((FOLDER / name).read_text(), folder, case, upstream or self.address))
        if peer is UPSTREAM:
            for name, size in (("64k", 64 << 10), ("1m", 1 << 20)):
                (folder / name).write_bytes(b"x" * size)
        words = {"program": program, "config": config, "folder": folder, "workers": case.workers}
        command = [*case.on_cores(core), *(word.format(**words) for word in peer.command)]
        self.log = folder / f"{peer.name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.wait_until_ready()
            self.check_answers()
        except BaseException:
            self.end()
            raise

    def filled_in(self, template: str, folder: Path, case: Case, upstream: str) -> str:
        filled = template.replace("            # @USES@\n", "".join(f"            - {use}\n" for use in case.uses))
        plugins = "".join(f"  {plugin}\n" for plugin in case.plugins)
        filled = filled.replace("# @PLUGINS@\n", f"plugins:\n{plugins}" if plugins else "")
        secure = case.tls and self.peer is not UPSTREAM
        lines = tls.lines(self.peer.name, folder.parent, case.tls, case.resume) if secure else ""
        filled = re.sub(r" *# @TLS@\n", lambda _: lines, filled)
        for key, value in {
            "SSL": " ssl" if secure else "",
            "LISTEN": self.address,
            "UPSTREAM": upstream,
            "LISTEN_PORT": self.address.rpartition(":")[2],
            "UPSTREAM_PORT": upstream.rpartition(":")[2],
            "WORKERS": case.workers,
            "CONNECTIONS": case.most_connections(),
            "ADMIN_PORT": free_port(),
            "FOLDER": folder,
        }.items():
            filled = filled.replace(f"@{key}@", str(value))
        return filled

    def wait_until_ready(self) -> None:
        host, port = self.address.split(":")
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return
            if self.process.poll() is not None:
                raise CannotStart(f"{self.peer.name} ended with {self.process.returncode}:\n{self.log.read_text()}")
            if time.monotonic() > deadline:
                raise CannotStart(f"{self.peer.name} does not accept on {self.address}:\n{self.log.read_text()}")
            time.sleep(0.01)

    def check_answers(self) -> None:
        secure = bool(self.case.tls) and self.peer is not UPSTREAM
        status, body = ask(self.address, self.case.path, dict([HEADER]), secure)
        if (status, len(body)) != (200, self.case.body):
            raise CannotStart(f"{self.peer.name} answered {status} with {len(body)} bytes, not 200 with {self.case.body}")
        if self.peer.filters and not self.case.tcp:
            status, _ = ask(self.address, self.case.path, {}, secure)
            if status != 403:
                raise CannotStart(f"{self.peer.name} answered {status} without the header, so its filter is not in the chain")

    def pids(self) -> list[int]:
        """The process and all its descendants (nginx's workers are children of its master)."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"{self.peer.name}: did not end on SIGTERM within {END_SECONDS} s, killed")
                for pid in self.pids():
                    os.kill(pid, 9)
                self.process.wait()


def ask(address: str, path: str, headers: dict[str, str], secure: bool = False) -> tuple[int, bytes]:
    if secure:
        connection = http.client.HTTPSConnection(address, timeout=ANSWER_SECONDS, context=tls.client())
    else:
        connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program_of(peer: Peer, transom: Path) -> str | None:
    """Where a peer's program is, if it is there."""
    if peer.name == "transom":
        return str(transom) if transom.is_file() else None
    # Debian's servers are in sbin, which is not in everybody's path; Envoy comes with .ci/requirements.txt.
    cache = os.environ.get("TRANSOM_CACHE", Path.home() / ".cache/transom")
    return shutil.which(peer.name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin:{cache}/venv/bin")
