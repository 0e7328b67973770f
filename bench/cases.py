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
    # What else is in Transom's chain, and what is declared for it.
    uses: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    # The proxies that take part; None is all.
    only: frozenset[str] | None = None
    # The kind of key in the proxy's certificate (`tls.KEYS`); None is plain.
    tls: str | None = None
    # Each request has a connection of its own, over TLS.
    close: bool = False
    # Those connections resume sessions; else each has a whole handshake.
    resume: bool = True
    # Connections that each had one answer and then rest: memory is measured, and nothing else.
    idle: int = 0
    # The case with the same load, in whose row of nginx the ratios are taken.
    reference: str | None = None

    def most_connections(self) -> int:
        """What peers with a bound are told: no more than they need, as some hold memory for as many."""
        return self.idle + 240 if self.idle else 8192

    def on_cores(self, core: int) -> list[str]:
        """What comes before a command to put it where it belongs: on its core, or on any (bench/run itself keeps to one)."""
        return ["taskset", "--cpu-list", str(core) if self.pinned else f"0-{os.cpu_count() - 1}"]


# Those whose configuration has a place for TLS.
TLS_PEERS = frozenset({"nginx", "transom"})
# HAProxy wants two descriptors for each connection that it may have, idle or not: more than users often may have.
IDLE_PEERS = frozenset({"nginx", "envoy", "transom"})

NOOPS = tuple(f"{{name: noop, id: noop-{number}}}" for number in range(32))

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
        uses=NOOPS,
        only=frozenset({"transom"}),
        reference="http1-small",
    ),
    Case("http1-small-2w", pinned=False, workers=2, connections=128, threads=2, quick=True),
    Case("http1-64k", pinned=True, workers=1, connections=64, threads=1, path="/64k", body=64 << 10),
    # Requests of HTTP all the same: so is the load, and the upstream is as quick as before.
    Case("tcp-small", pinned=True, workers=1, connections=64, threads=1, tcp=True),
    Case("tcp-64k", pinned=True, workers=1, connections=64, threads=1, path="/64k", body=64 << 10, tcp=True),
    # Signing with RSA costs the proxy more than verifying costs the client, so here the proxy is at its limit and not the
    # load generator; in the others it may be the other way round, and only CPU per handshake can be compared.
    Case("tls-handshake", pinned=True, workers=1, connections=64, threads=1, tls="rsa2048", close=True, resume=False, only=TLS_PEERS),
    Case("tls-handshake-p256", pinned=True, workers=1, connections=64, threads=1, tls="p256", close=True, resume=False, only=TLS_PEERS),
    Case("tls-resume", pinned=True, workers=1, connections=64, threads=1, tls="rsa2048", close=True, only=TLS_PEERS),
    Case("idle-10k", pinned=True, workers=1, connections=0, threads=0, idle=10_000, only=IDLE_PEERS),
    Case("tls-bulk", pinned=True, workers=1, connections=16, threads=1, path="/1m", body=1 << 20, tls="p256", only=TLS_PEERS),
]
