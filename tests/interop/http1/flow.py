"""Bodies larger than memory, and peers that stop reading: what is on its way must not pile up in the proxy."""

import socket
import threading
import time
import zlib

from http1 import suite
from processes import Listener, Transom, read_head, two_filters
from suite import CI, equal, until

MIB = 1 << 20
# A piece whose repetition makes a body: no length that a buffer has.
PIECE = bytes(range(251)) * 4177
SLACK = 8 * MIB


def size() -> int:
    """2 GiB take some seconds each way; a run by hand need not wait for them."""
    return (2048 if suite.long or CI else 256) * MIB


def standstill() -> float:
    return 10 if suite.long else 3


def send_body(connection: socket.socket, length: int) -> int:
    """Sends so many bytes; gives their CRC-32."""
    sum, piece = 0, memoryview(PIECE)
    while length:
        part = piece[: min(length, len(piece))]
        connection.sendall(part)
        sum = zlib.crc32(part, sum)
        length -= len(part)
    return sum


def receive_body(connection: socket.socket, length: int, begun: bytes = b"") -> int:
    """Receives so many bytes; gives their CRC-32."""
    sum, left = zlib.crc32(begun), length - len(begun)
    buffer = bytearray(MIB)
    view = memoryview(buffer)
    while left:
        count = connection.recv_into(view[: min(left, MIB)])
        if not count:
            raise AssertionError(f"the connection ended {left} bytes too early")
        sum = zlib.crc32(view[:count], sum)
        left -= count
    return sum


def rate(length: int, start: float, proxy: Transom) -> str:
    seconds = time.monotonic() - start
    return f"{length // MIB} MiB at {length / MIB / seconds:.0f} MiB/s, peak {proxy.peak_memory() / MIB:.1f} MiB"


@suite.case
def a_body_beyond_memory_goes_up_through_two_filters(scene):
    sums = []

    def serve(connection):
        begun = bytearray()
        read_head(connection, begun)
        sums.append(receive_body(connection, size(), bytes(begun)))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address, two_filters()))
    start = time.monotonic()
    with proxy.connect(120) as connection:
        head = f"POST / HTTP/1.1\r\nHost: a\r\nUser: admin\r\nContent-Length: {size()}\r\n\r\n"
        connection.sendall(head.encode())
        sum = send_body(connection, size())
        assert read_head(connection).startswith(b"HTTP/1.1 200 ")
    equal(sums, [sum], "what the upstream received")
    assert proxy.peak_memory() < 64 * MIB, f"{proxy.peak_memory() / MIB} MiB"
    return rate(size(), start, proxy)


@suite.case
def a_body_beyond_memory_goes_down_through_two_filters(scene):
    sums = []

    def serve(connection):
        read_head(connection)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size()}\r\n\r\n".encode())
        sums.append(send_body(connection, size()))
        read_head(connection)

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address, two_filters()))
    start = time.monotonic()
    with proxy.connect(120) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUser: admin\r\n\r\n")
        begun = bytearray()
        assert read_head(connection, begun).startswith(b"HTTP/1.1 200 ")
        sum = receive_body(connection, size(), bytes(begun))
    until(lambda: sums, "the upstream has sent all")
    equal(sums, [sum], "what the client received")
    assert proxy.peak_memory() < 64 * MIB, f"{proxy.peak_memory() / MIB} MiB"
    return rate(size(), start, proxy)


class Pump:
    """Sends without end as long as the other side takes it, and counts."""

    def __init__(self, connection: socket.socket, length: int):
        self.connection = connection
        self.left = length
        self.sent = 0
        self.sum = 0

    def run(self):
        piece = memoryview(PIECE)
        while self.left:
            count = self.connection.send(piece[: min(self.left, len(piece))])
            self.sum = zlib.crc32(piece[:count], self.sum)
            piece = piece[count:] if count < len(piece) else memoryview(PIECE)
            self.sent += count
            self.left -= count

    def stands(self, seconds: float = 0.5) -> bool:
        before = self.sent
        time.sleep(seconds)
        return self.sent == before


def stand_still(pump: Pump, proxy: Transom, quiet_memory: int) -> str:
    """The pump must stop, stay so, and the proxy hold no more than before."""
    until(pump.stands, "the sender stops")
    sent, memory = pump.sent, proxy.memory()
    time.sleep(standstill())
    equal(pump.sent, sent, "bytes sent while the other side stood still")
    # The kernel's buffers on both sides of the proxy hold some MiB; what counts is that it is no more.
    assert sent < 32 * MIB, f"{sent / MIB} MiB were taken from a sender whose peer did not read"
    grown = proxy.memory() - memory
    assert abs(grown) < MIB, f"memory changed by {grown} bytes in a standstill"
    assert memory - quiet_memory < SLACK, f"{(memory - quiet_memory) / MIB} MiB more than without a stream"
    return f"stopped after {sent / MIB:.1f} MiB, memory {memory / MIB:.1f} MiB and unchanged for {standstill():.0f} s"


@suite.case
def a_client_that_stops_reading_stops_the_upstream(scene):
    length = 64 * MIB
    pumps = []

    def serve(connection):
        read_head(connection)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
        pumps.append(Pump(connection, length))
        pumps[0].run()
        read_head(connection)

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address, two_filters()))
    quiet = proxy.memory()
    with proxy.connect(60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUser: admin\r\n\r\n")
        begun = bytearray()
        read_head(connection, begun)
        until(lambda: pumps, "the upstream sends")
        note = stand_still(pumps[0], proxy, quiet)
        # And when it reads on, all of it comes.
        sum = receive_body(connection, length, bytes(begun))
        equal(sum, pumps[0].sum)
    return note


@suite.case
def an_upstream_that_stops_reading_stops_the_client(scene):
    length = 64 * MIB
    go_on = threading.Event()
    sums = []

    def serve(connection):
        begun = bytearray()
        read_head(connection, begun)
        go_on.wait(60)
        sums.append(receive_body(connection, length, bytes(begun)))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address, two_filters()))
    quiet = proxy.memory()
    with proxy.connect(60) as connection:
        head = f"POST / HTTP/1.1\r\nHost: a\r\nUser: admin\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        pump = Pump(connection, length)
        sender = threading.Thread(target=pump.run, daemon=True)
        sender.start()
        note = stand_still(pump, proxy, quiet)
        go_on.set()
        sender.join(60)
        assert read_head(connection).startswith(b"HTTP/1.1 200 ")
    equal(sums, [pump.sum])
    return note
