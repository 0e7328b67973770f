"""Clients that are slow on purpose: slowhttptest's four attacks, and good clients beside them."""

import pathlib
import time

from http1 import suite
from processes import Nginx, Program, Transom, needs
from suite import equal

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
    return attack(scene, ["-R", "-a", "5", "-b", "3000"], most=HEADER + STREAM + IDLE, path="/files/large")


def attack(scene, mode: list[str], most: float, path: str = "/a") -> str:
    """Runs an attack; no connection may live longer than `most` seconds, and a good client is to notice nothing."""
    nginx = scene.start(Nginx(scene.folder))
    (scene.folder / "files" / "large").write_bytes(b"x" * (8 << 20))
    proxy = scene.start(Transom(scene.folder, nginx.address, timeouts=TIMEOUTS))
    seconds = 40 if suite.long else 12
    command = [needs("slowhttptest"), "-c", str(CONNECTIONS), "-r", "250", "-l", str(seconds), "-p", "5", "-v", "0", *mode]
    attacker = scene.start(Program([*command, "-u", proxy.url + path], scene.folder, "slowhttptest"))

    port = proxy.address[1]
    first_seen, oldest, most_open, waits = {}, 0.0, 0, []
    until = time.monotonic() + seconds
    while time.monotonic() < until and attacker.process.poll() is None:
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
    slowest = waits[-1]
    assert slowest < 1, f"a good client waited {slowest:.2f} s"
    return (
        f"up to {most_open} connections, the oldest {oldest:.1f} s of {most} s; {len(waits)} good requests, "
        f"median {waits[len(waits) // 2] * 1000:.1f} ms, slowest {slowest * 1000:.1f} ms"
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
