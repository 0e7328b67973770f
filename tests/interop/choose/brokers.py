"""Messages to NATS: requests, and logs."""

import json
import socket
import threading

from choosing import Proxy, Upstream, accepts, free_port, suite
from processes import Program
from suite import equal, needs, until


class Nats(Program):
    def __init__(self, folder, port: int, *arguments: str):
        self.port = port
        super().__init__([needs("nats-server"), "-a", "127.0.0.1", "-p", str(port), *arguments], folder, "nats")
        until(lambda: accepts(port), "NATS is up")


class Subscriber:
    """Whoever has subscribed to everything, with its messages: subject, headers, body."""

    def __init__(self, port: int, credentials: dict | None = None):
        self.messages: list[tuple[str, str, bytes]] = []
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")
        self.file.readline()
        options = json.dumps({"verbose": False, "headers": True, **(credentials or {})})
        self.socket.sendall(f"CONNECT {options}\r\nSUB > 1\r\nPING\r\n".encode())
        until_pong = iter(self.file.readline, b"PONG\r\n")
        for line in until_pong:
            assert line, "NATS has closed"
        threading.Thread(target=self.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def read(self):
        for line in iter(self.file.readline, b""):
            words = line.decode().split()
            if words[0] == "PING":
                self.socket.sendall(b"PONG\r\n")
            elif words[0] in ("MSG", "HMSG"):
                data = self.file.read(int(words[-1]) + 2)[:-2]
                head = int(words[-2]) if words[0] == "HMSG" else 0
                self.messages.append((words[1], data[:head].decode(), data[head:]))


FILTER = "{name: publish, %s config: {topic: orders, broker: {name: nats, config: {address: '127.0.0.1:%d'%s}}%s}}"


@suite.case
def a_request_becomes_a_message_and_is_answered_when_nats_has_it(scene):
    nats = scene.start(Nats(scene.folder, free_port()))
    subscriber = scene.start(Subscriber(nats.port))
    up = scene.start(Upstream("up"))
    publish = FILTER % ("", nats.port, "", ", max_body: 100KiB")
    log = "{name: publish, config: {topic: log, broker: {name: nats, config: {address: '127.0.0.1:%d'}}, json: {path: '%%REQ(:PATH)%%', status: '%%RESPONSE_CODE%%'}}}" % nats.port
    proxy = scene.start(Proxy(scene.folder, f"endpoints: ['{up.address}']", publish, log))
    equal(proxy.ask("/buy?n=1", b"one"), (202, ""))
    until(lambda: len(subscriber.messages) == 2, "two messages")
    subject, head, body = subscriber.messages[0]
    equal((subject, body), ("orders", b"one"))
    for line in ["method: POST", "path: /buy?n=1", "content-type: application/x-www-form-urlencoded"]:
        assert line in head.split("\r\n"), head
    subject, head, body = subscriber.messages[1]
    equal((subject, head), ("log", ""))
    equal(json.loads(body), {"path": "/buy?n=1", "status": 202})
    # A request without a body is a message too; one that is too large is none.
    equal(proxy.ask("/"), (202, ""))
    equal(proxy.ask("/", b"x" * 200_000)[0], 413)
    large = b"y" * 100_000
    equal(proxy.ask("/", large)[0], 202)
    until(lambda: [body for subject, _, body in subscriber.messages if subject == "orders"] == [b"one", b"", large], "all messages")


@suite.case
def many_requests_at_once_are_all_published(scene):
    nats = scene.start(Nats(scene.folder, free_port()))
    subscriber = scene.start(Subscriber(nats.port))
    proxy = scene.start(Proxy(scene.folder, "endpoints: ['127.0.0.1:1']", FILTER % ("", nats.port, "", "")))
    statuses: list[int] = []

    def load(number: int):
        for turn in range(50):
            statuses.append(proxy.ask("/", f"{number}-{turn}".encode())[0])

    threads = [threading.Thread(target=load, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(set(statuses), {202})
    wanted = {f"{number}-{turn}".encode() for number in range(8) for turn in range(50)}
    until(lambda: {body for _, _, body in subscriber.messages} == wanted, "every message once")
    equal(len(subscriber.messages), 400)


@suite.case
def while_nats_is_away_the_failure_policy_decides(scene):
    port = free_port()
    nats = scene.start(Nats(scene.folder, port))
    up = scene.start(Upstream("up"))
    for policy, then, away in [("", "", 503), ("on_failure: open,", ", then: pass", 200)]:
        folder = scene.folder / (policy[:10] or "closed").replace(":", "").replace(",", "").strip()
        folder.mkdir()
        proxy = scene.start(Proxy(folder, f"endpoints: ['{up.address}']", FILTER % (policy, port, "", then)))
        there = (202, "") if not then else (200, "up")
        equal(proxy.ask("/", b"x"), there)
        nats.__exit__()
        until(lambda: "NATS is away" in proxy.log.read_text(), "the proxy notices")
        equal(proxy.ask("/", b"x")[0], away)
        nats = scene.start(Nats(scene.folder, port))
        until(lambda: proxy.ask("/", b"x") == there, "messages again")


@suite.case
def a_user_and_what_it_may_not_publish(scene):
    port = free_port()
    (scene.folder / "nats.conf").write_text(
        "authorization { users = [{user: a, password: b, permissions: {publish: [\"log\"], subscribe: [\">\"]}}] }\n")
    scene.start(Nats(scene.folder, port, "-c", str(scene.folder / "nats.conf")))
    up = scene.start(Upstream("up"))
    user = ", username: a, password: b"
    proxy = scene.start(Proxy(scene.folder, f"endpoints: ['{up.address}']", FILTER % ("", port, user, "")))
    equal(proxy.ask("/", b"x")[0], 500)
    assert "Permissions Violation" in proxy.log.read_text()
    stranger = scene.folder / "stranger"
    stranger.mkdir()
    proxy = scene.start(Proxy(stranger, f"endpoints: ['{up.address}']", FILTER % ("", port, ", username: a, password: c", "")))
    equal(proxy.ask("/", b"x")[0], 503)
    assert "Authorization Violation" in proxy.log.read_text()
