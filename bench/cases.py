"""What is measured: the cases, and which proxies take part in each."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    name: str
    # Proxy (and plugin) on core 0, load generator and upstream on core 1; otherwise the scheduler's choice.
    pinned: bool
    workers: int
    connections: int
    # Threads of the load generator: on one core a second one would only be in the way.
    threads: int
    # What is asked for, and how long its body is.
    path: str = "/"
    body: int = 100
    # Proxies move bytes and look at nothing; otherwise they speak HTTP/1.
    tcp: bool = False
    # Measured by --quick too.
    quick: bool = False
    # Copies of Transom's filter `noop` in the chain.
    noops: int = 0
    # The proxies that take part; None is all.
    only: frozenset[str] | None = None
    # The case with the same load, in whose row of nginx the ratios are taken.
    reference: str | None = None

    def on_cores(self, core: int) -> list[str]:
        """What comes before a command to put it where it belongs: on its core, or on any (bench/run itself keeps to one)."""
        return ["taskset", "--cpu-list", str(core) if self.pinned else f"0-{os.cpu_count() - 1}"]


CASES = [
    Case("http1-small", pinned=True, workers=1, connections=64, threads=1, quick=True),
    # Beside the case that it is compared with, so that in each round the two are neighbours.
    Case(
        "http1-small-32noop",
        pinned=True,
        workers=1,
        connections=64,
        threads=1,
        quick=True,
        noops=32,
        only=frozenset({"transom"}),
        reference="http1-small",
    ),
    Case("http1-small-2w", pinned=False, workers=2, connections=128, threads=2, quick=True),
    Case("http1-64k", pinned=True, workers=1, connections=64, threads=1, path="/64k", body=64 << 10),
    # Requests of HTTP all the same: so is the load, and the upstream is as quick as before.
    Case("tcp-small", pinned=True, workers=1, connections=64, threads=1, tcp=True),
    Case("tcp-64k", pinned=True, workers=1, connections=64, threads=1, path="/64k", body=64 << 10, tcp=True),
]
