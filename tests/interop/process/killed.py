"""A plugin that is killed: how soon it answers again, in Rust and in Go, and what two processes lose."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

import processes
from services import suite
from suite import ROOT, Skip, equal, until

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

# What the plugin's process costs to start is its own; this is what the two together may take.
SOON = 0.100

KILLS = 15

CONFIGURATION = """\
workers: 1
admin: {address: "unix:%(folder)s/admin.sock"}
plugins:
  p: {runtime: process, command: %(command)s, instances: %(instances)d, restart: {limit: 0, backoff: 1ms..2ms}, bounds: {queue_time: 5s}}
listeners:
  - name: ingress
    address: 127.0.0.1:0
    network_filters:
      - name: http
        config:
          stream_filters: [{plugin: p/auth, config: {User: admin}, on_failure: %(on_failure)s}]
          virtual_hosts: [{domains: ["*"], routes: [{match: {prefix: /}, cluster: backend}]}]
clusters:
  - {name: backend, endpoints: ["%(upstream)s"]}
"""


def rust() -> str:
    """The conformance plugin in Rust, built as one would ship it."""
    command = ["cargo", "build", "--quiet", "--release", "-p", "transom-sdk", "--example", "conformance"]
    subprocess.run(command, cwd=ROOT, check=True)
    return str(TARGET / "release/examples/conformance")


def go(folder: pathlib.Path) -> str:
    if shutil.which("go") is None:
        raise Skip("go is not installed")
    program = folder / "conformance"
    subprocess.run(["go", "build", "-o", str(program), "./conformance"], cwd=ROOT / "sdk/go", check=True)
    return str(program)


class Proxy(processes.Transom):
    """The program with the plugin `p`."""

    def __init__(self, folder: pathlib.Path, upstream: str, plugin: str, instances: int = 1, on_failure: str = "closed"):
        self.plugin = {"command": json.dumps([plugin]), "instances": instances, "on_failure": on_failure}
        super().__init__(folder, upstream)

    def write(self, **changes):
        self.file.write_text(CONFIGURATION % (self.values | self.plugin | changes))

    def pids(self) -> list[int]:
        versions = json.loads(self.admin("GET", "/api/v1/plugins/p")[1])["versions"]
        return [instance["pid"] for version in versions for instance in version["instances"] if instance["pid"]]

    def run(self, instances: int) -> list[int]:
        return until(lambda: len(pids := self.pids()) == instances and pids, "all processes run")


def answers(connection: socket.socket):
    while processes.read_head(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def ask(connection: socket.socket) -> int:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUser: admin\r\n\r\n")
    return int(processes.read_head(connection).split(b" ")[1])


def is_back_soon(scene, plugin: str) -> str:
    upstream = scene.start(processes.Listener(answers))
    proxy = scene.start(Proxy(scene.folder, upstream.address, plugin))
    took = []
    with proxy.connect() as connection:
        equal(ask(connection), 200)
        for _ in range(KILLS):
            [pid] = proxy.run(1)
            begun = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            # The request comes when the process is gone or is going: it waits for the next one.
            equal(ask(connection), 200)
            took.append(time.monotonic() - begun)
            # The same process may have answered while it was killed.
            until(lambda: proxy.pids() not in ([pid], []), "another process")
    took.sort()
    middle, worst = took[len(took) // 2], took[-1]
    if middle > SOON:
        raise AssertionError(f"half of {KILLS} killed processes were back only after {middle * 1000:.0f} ms")
    return f"back after {middle * 1000:.1f} ms, at worst {worst * 1000:.1f} ms"


def loses_nothing(scene, plugin: str) -> str:
    notes = []
    for policy in ("closed", "open"):
        folder = scene.folder / policy
        folder.mkdir()
        upstream = scene.start(processes.Listener(answers))
        proxy = scene.start(Proxy(folder, upstream.address, plugin, 2, policy))
        proxy.run(2)
        statuses, end = [], threading.Event()

        def load():
            with proxy.connect() as connection:
                while not end.is_set():
                    statuses.append(ask(connection))

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(KILLS):
                os.kill(proxy.run(2)[0], signal.SIGKILL)
                time.sleep(0.1)
        finally:
            end.set()
            for thread in threads:
                thread.join()
        equal({status: statuses.count(status) for status in set(statuses)}, {200: len(statuses)}, policy)
        notes.append(f"{policy}: {len(statuses)} requests")
    return f"{KILLS} kills, " + ", ".join(notes)


@suite.case
def a_killed_rust_plugin_answers_again_within_100_ms(scene):
    return is_back_soon(scene, rust())


@suite.case
def a_killed_go_plugin_answers_again_within_100_ms(scene):
    return is_back_soon(scene, go(scene.folder))


@suite.case
def of_two_rust_processes_a_killed_one_loses_no_request(scene):
    return loses_nothing(scene, rust())


@suite.case
def of_two_go_processes_a_killed_one_loses_no_request(scene):
    return loses_nothing(scene, go(scene.folder))
