"""Hosts from etcd, from DNS and from a file."""

import base64
import json
import os
import socket
import struct
import threading
import time
import urllib.request

from choosing import Proxy, Upstream, free_port, suite
from processes import Program
from suite import equal, needs, until


class Etcd(Program):
    """A single etcd, whose data outlives it."""

    def __init__(self, folder, port: int, peer: int):
        self.port = port
        url = f"http://127.0.0.1:{port}"
        command = [needs("etcd"), "--data-dir", str(folder / "etcd"), "--listen-client-urls", url, "--advertise-client-urls", url,
                   "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                   "--initial-cluster", f"default=http://127.0.0.1:{peer}"]
        super().__init__(command, folder, "etcd")
        until(self.is_up, "etcd is up", 60)

    def is_up(self) -> bool:
        try:
            self.call("kv/range", {"key": b64("a")})
            return True
        except OSError:
            return False

    def call(self, path: str, question: dict) -> dict:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v3/{path}", data=json.dumps(question).encode())
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def put(self, service: str, node: str, address: str, **metadata):
        """As go-micro 2.9 writes it."""
        value = {"name": service, "version": "latest", "metadata": None, "endpoints": [],
                 "nodes": [{"id": node, "address": address, "metadata": metadata}]}
        key = f"/micro/registry/{service}/{node}"
        self.call("kv/put", {"key": b64(key), "value": b64(json.dumps(value))})

    def delete(self, service: str, node: str):
        self.call("kv/deleterange", {"key": b64(f"/micro/registry/{service}/{node}")})


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@suite.case
def hosts_come_from_etcd_as_go_micro_writes_them_and_stay_while_it_is_away(scene):
    port, peer = free_port(), free_port()
    etcd = scene.start(Etcd(scene.folder, port, peer))
    a, b = scene.start(Upstream("a")), scene.start(Upstream("b"))
    etcd.put("greeter", "greeter-1", a.address)
    # Of a name that begins alike; it is another service.
    etcd.put("greeter2", "greeter-1", b.address)
    cluster = f"service: greeter, registry: {{name: etcd, config: {{address: '127.0.0.1:1,127.0.0.1:{port}'}}}}"
    proxy = scene.start(Proxy(scene.folder, cluster))
    equal(proxy.ask(), (200, "a"))
    etcd.put("greeter", "greeter-2", b.address)
    until(lambda: {proxy.ask()[1] for _ in range(8)} == {"a", "b"}, "both hosts")
    etcd.delete("greeter", "greeter-1")
    until(lambda: {proxy.ask()[1] for _ in range(8)} == {"b"}, "one host")
    etcd.__exit__()
    until(lambda: "cannot be followed" in proxy.log.read_text(), "the proxy notices")
    equal(proxy.ask(), (200, "b"), "while etcd is away")
    etcd = scene.start(Etcd(scene.folder, port, peer))
    etcd.put("greeter", "greeter-3", a.address)
    etcd.delete("greeter", "greeter-2")
    until(lambda: {proxy.ask()[1] for _ in range(8)} == {"a"}, "hosts again", 60)
    # What is no service is left out, and the others stay.
    etcd.call("kv/put", {"key": b64("/micro/registry/greeter/bad"), "value": b64("nonsense")})
    until(lambda: "no service of go-micro" in proxy.log.read_text(), "the log tells")
    equal(proxy.ask(), (200, "a"))
    etcd.delete("greeter", "greeter-3")
    proxy.comes_to(502)


@suite.case
def a_proxy_starts_while_etcd_is_away_and_has_hosts_when_it_comes(scene):
    port, peer = free_port(), free_port()
    a = scene.start(Upstream("a"))
    environment = {"MICRO_REGISTRY": "etcd", "MICRO_REGISTRY_ADDRESS": f"127.0.0.1:{port}"}
    proxy = scene.start(Proxy(scene.folder, "service: greeter", environment=environment))
    equal(proxy.ask()[0], 502)
    etcd = scene.start(Etcd(scene.folder, port, peer))
    etcd.put("greeter", "greeter-1", a.address)
    until(lambda: proxy.ask() == (200, "a"), "hosts", 60)


class Dns:
    """A DNS server for one name: SRV records whose targets are `hN.test` at 127.0.0.N."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.records: list[tuple[int, int, int, int]] | None = []
        self.ttl = 0
        self.asked = 0
        self.silent = False
        threading.Thread(target=self.serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def serve(self):
        while True:
            try:
                question, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            if not self.silent:
                self.socket.sendto(self.answer(question), peer)

    def answer(self, question: bytes) -> bytes:
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
            at += 1 + question[at]
        end = at + 5
        kind = struct.unpack(">H", question[at + 1:at + 3])[0]
        answers = []
        if labels[0] == "_http" and kind == 33:
            self.asked += 1
            for priority, weight, port, host in self.records or []:
                target = name(f"h{host}.test")
                answers.append((33, struct.pack(">HHH", priority, weight, port) + target))
        elif labels[0][0] == "h" and kind == 1:
            answers.append((1, bytes([127, 0, 0, int(labels[0][1:])])))
        nobody = self.records is None and labels[0] == "_http"
        flags = 0x8580 | (3 if nobody else 0)
        head = question[:2] + struct.pack(">HHHHH", flags, 1, len(answers), 0, 0)
        body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, self.ttl, len(data)) + data for kind, data in answers)
        return head + question[12:end] + body


def name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


@suite.case
def hosts_come_from_srv_records_for_as_long_as_these_are_good(scene):
    dns = scene.start(Dns())
    a, b = scene.start(Upstream("a", "127.0.0.2")), scene.start(Upstream("b", "127.0.0.3"))
    # The lowest priority is what counts.
    dns.records = [(1, 0, a.port, 2), (5, 0, b.port, 3)]
    cluster = (f"service: _http._tcp.greeter.test., registry: {{name: dns, config: {{address: '127.0.0.1:{dns.port}', min_ttl: 100ms}}}}")
    proxy = scene.start(Proxy(scene.folder, cluster))
    equal({proxy.ask() for _ in range(6)}, {(200, "a")})
    dns.records = [(5, 0, b.port, 3)]
    proxy.comes_to((200, "b"))
    asked = dns.asked
    dns.silent = True
    until(lambda: "stay as they were" in proxy.log.read_text(), "the proxy notices", 60)
    equal(proxy.ask(), (200, "b"), "while the server is silent")
    dns.silent, dns.ttl = False, 2
    until(lambda: dns.asked > asked + 1, "it is asked again", 60)
    # A TTL is kept to.
    asked = dns.asked
    until(lambda: dns.asked > asked, "it is asked again")
    begun = dns.asked
    start = time.monotonic()
    until(lambda: dns.asked > begun, "it is asked again")
    waited = time.monotonic() - start
    assert 1.5 < waited < 4, waited
    dns.ttl, dns.records = 0, None
    proxy.comes_to(502)
    return f"asked again after {waited:.1f} s with a TTL of 2 s"


@suite.case
def hosts_come_from_a_file_that_others_replace(scene):
    a, b = scene.start(Upstream("a")), scene.start(Upstream("b"))
    file = scene.folder / "hosts.json"

    def write(text: str):
        new = file.with_suffix(".new")
        new.write_text(text)
        os.rename(new, file)

    write(json.dumps({"greeter": [a.address]}))
    cluster = "service: greeter, registry: {name: file, config: {address: hosts.json, interval: 50ms}}"
    proxy = scene.start(Proxy(scene.folder, cluster))
    equal(proxy.ask(), (200, "a"))
    write(json.dumps({"greeter": [{"address": b.address, "weight": 3}]}))
    proxy.comes_to((200, "b"))
    write("{")
    until(lambda: "stay as they were" in proxy.log.read_text(), "the log tells")
    file.unlink()
    equal(proxy.ask(), (200, "b"))
