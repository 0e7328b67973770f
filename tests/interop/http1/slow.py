"""Clients that are slow on purpose: slowhttptest's four attacks, and good clients beside them."""

import pathlib
import time

from http1 import suite
from processes import Nginx, Program, Transom, needs
from suite import equal, until

CONNECTIONS = 500
# What the proxy is told, in seconds. Each attack is bounded by the sum of those that it can use up one after the other.
HEADER, BODY_IDLE, WRITE_IDLE, IDLE, STREAM = 3, 2, 2, 2, 6
TIMEOUTS = f"header: {HEADER}s, body_idle: {BODY_IDLE}s, write_idle: {WRITE_IDLE}s, idle: {IDLE}s, stream: {STREAM}s"
# Between two looks at the connections, and a machine that is busy with the attack itself.
SLACK = 2.0


@suite.case
def slow_headers_end_at_the_header_timeout(scene):
    return attack(scene, ["-H", "-i", "1", "-x", "24"], most=HEADER)


@suite.case
def slow_bodies_end_at_the_stream_timeout(scene):
    # A byte each second keeps the time between two pieces, so that only the whole stream's is left.
    # nginx takes the whole body of a PUT before it answers.
    return attack(scene, ["-B", "-t", "PUT", "-i", "1", "-s", "8192", "-x", "10"], most=HEADER + STREAM, path="/files/slow")


@suite.case
def slow_readers_end_at_the_stream_timeout(scene):
    # The answer is larger than what the kernel takes for a client that does not read.
    return attack(scene, ["-X", "-n", "1", "-z", "32", "-w", "512", "-y", "1024", "-k", "3"], most=HEADER + STREAM, path="/files/large")


@suite.case
def many_ranges_are_answered_and_go(scene):
    # slowhttptest asks first and leaves a server alone that takes no overlapping ranges for granted, nginx among them: so
    # it only has to end, and the attack itself is made here.
    proxy = start(scene)
    tool = scene.start(Program(command(proxy, ["-R", "-a", "5", "-b", "3000"], "/files/large", 10), scene.folder, "slowhttptest"))
    until(lambda: tool.process.poll() is not None, "slowhttptest has seen that there is nothing to attack")
    ranges = ",".join(f"5-{last}" for last in range(5, 1000))
    head = f"GET /files/large HTTP/1.1\r\nHost: a\r\nRange: bytes=0-,{ranges}\r\n\r\n"
    connections = [scene.start(proxy.connect()) for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.sendall(head.encode())
    return watch(proxy, 12, HEADER + STREAM + IDLE, lambda: False)


def attack(scene, mode: list[str], most: float, path: str = "/a") -> str:
    """Runs an attack; no connection may live longer than `most` seconds, and a good client is to notice nothing."""
    proxy = start(scene)
    seconds = 40 if suite.long else 12
    attacker = scene.start(Program(command(proxy, mode, path, seconds), scene.folder, "slowhttptest"))
    return watch(proxy, seconds, most, lambda: attacker.process.poll() is not None)


def start(scene) -> Transom:
    nginx = scene.start(Nginx(scene.folder))
    # More than the kernel takes for a client that does not read.
    (scene.folder / "files" / "large").write_bytes(b"x" * (4 << 20))
    return scene.start(Transom(scene.folder, nginx.address, timeouts=TIMEOUTS))


def command(proxy: Transom, mode: list[str], path: str, seconds: int) -> list[str]:
    options = ["-c", str(CONNECTIONS), "-r", "250", "-l", str(seconds), "-p", "5", "-v", "0", *mode]
    return [needs("slowhttptest"), *options, "-u", proxy.url + path]


def watch(proxy: Transom, seconds: float, most: float, is_over) -> str:
    port = proxy.address[1]
    first_seen, oldest, most_open, waits = {}, 0.0, 0, []
    last = time.monotonic() + seconds
    while time.monotonic() < last and not is_over():
        now = time.monotonic()
        waits.append(good_request(proxy))
        open_now = connections_to(port, proxy.pid)
        most_open = max(most_open, len(open_now))
        first_seen = {peer: first_seen.get(peer, now) for peer in open_now}
        oldest = max([oldest, *(now - seen for seen in first_seen.values())])
        time.sleep(0.1)
    assert most_open > CONNECTIONS / 3, f"only {most_open} connections were ever open: this was no attack"
    assert oldest <= most + SLACK, f"a connection lived {oldest:.1f} s, {most} s are allowed"
    waits.sort()
    slowest, middle = waits[-1], waits[len(waits) // 2]
    # Attack, upstream and proxy share a small machine: while 500 connections begin at once, one request may wait for them.
    assert middle < 0.1 and slowest < 3, f"good clients waited {middle:.3f} s, one of them {slowest:.2f} s"
    return (
        f"up to {most_open} connections, the oldest {oldest:.1f} s of {most} s; {len(waits)} good requests, "
        f"median {middle * 1000:.1f} ms, slowest {slowest * 1000:.1f} ms"
    )


def good_request(proxy: Transom) -> float:
    """A request on a new connection: how long it took."""
    begun = time.monotonic()
    client = proxy.client(timeout=5)
    client.request("GET", "/a")
    answer = client.getresponse()
    equal((answer.status, answer.read()), (200, b"/a\n"))
    client.close()
    return time.monotonic() - begun


def connections_to(port: int, pid: int) -> set[str]:
    """The peers of the established connections whose local port is `port` (proc(5), /proc/net/tcp)."""
    peers = set()
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if state == "01" and int(local.rpartition(":")[2], 16) == port:
            peers.add(remote)
    return peers
