"""Signals, reloads, restarts, ports and descriptors."""

import signal
import socket
import subprocess
import threading
import time

from http1 import suite
from processes import CONFIGURATION, TRANSOM, Listener, Nginx, Program, Transom, Wrk, curl, read_head, read_to_end
from suite import equal, until

SETTING = "{name: header_match, config: {Host: %s}}"


def code(proxy: Transom, *arguments: str) -> str:
    return curl("--output", "/dev/null", "--write-out", "%{http_code}", *arguments, proxy.url)


@suite.case
def sighup_under_load_loses_no_request(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    wrk = scene.start(Wrk(scene.folder, proxy.url + "/", seconds=10 if suite.long else 4))
    reloads = 0
    while wrk.is_loading():
        # Each time another configuration: the filters change, and a route's cluster has another pool.
        proxy.write(filters="{name: noop}" if reloads % 2 else "{name: noop, id: a}, {name: noop, id: b}")
        proxy.signal(signal.SIGHUP)
        reloads += 1
        time.sleep(0.1)
    result = wrk.result()
    equal(result["errors"], [0] * 5, "errors of connect, read, write, status, timeout")
    assert result["requests"] > 1000, result
    # And the reloads were real.
    proxy.write(filters=SETTING % "nobody")
    proxy.signal(signal.SIGHUP)
    until(lambda: code(proxy) == "403", "the last configuration is active")
    return f"{result['requests']} requests, {reloads} reloads"


@suite.case
def a_malformed_configuration_on_sighup_leaves_the_old_one(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    good = proxy.file.read_text()
    client = proxy.client()
    for broken in ["listeners: [", good.replace("prefix: /", "prefx: /"), good.replace("cluster: backend", "cluster: b"), ""]:
        proxy.file.write_text(broken)
        equal(subprocess.run([TRANSOM, "check", str(proxy.file)], capture_output=True).returncode, 2, "exit code of check")
        status, answer = proxy.admin("POST", "/reload")
        assert status >= 400, (status, answer)
        proxy.signal(signal.SIGHUP)
        for _ in range(30):
            client.request("GET", "/a")
            answer = client.getresponse()
            equal((answer.status, answer.read()), (200, b"/a\n"))
            time.sleep(0.005)
    client.close()
    # A good one after bad ones is taken.
    proxy.write(filters=SETTING % "nobody")
    proxy.signal(signal.SIGHUP)
    until(lambda: code(proxy) == "403", "the mended configuration is active")


@suite.case
def sigterm_lets_requests_under_way_complete(scene):
    go_on = threading.Event()
    waiting = []

    def serve(connection):
        while read_head(connection):
            waiting.append(connection)
            go_on.wait(60)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address))
    connections = [scene.start(proxy.connect()) for _ in range(20)]
    for connection in connections:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    idle = scene.start(proxy.connect())
    until(lambda: len(waiting) == 20, "the requests are under way")
    proxy.signal(signal.SIGTERM)

    equal(read_to_end(idle), b"", "an idle connection is closed")
    until(lambda: refused(proxy.address), "no more connections are taken")
    assert proxy.process.poll() is None, "it ended before the requests under way"
    go_on.set()
    for connection in connections:
        answer = read_to_end(connection)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nok"), answer
    proxy.exits_with(0)


def refused(address) -> bool:
    try:
        socket.create_connection(address, 1).close()
    except ConnectionRefusedError:
        return True
    return False


@suite.case
def sigterm_under_load_answers_every_request_that_it_took(scene):
    """Clients with one connection each: after SIGTERM each gets its answers whole, then an end, never a broken answer."""
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    answered, broken = [], []

    def load():
        connection = proxy.connect()
        count = 0
        with connection:
            while True:
                try:
                    connection.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
                    head = read_head(connection, body := bytearray())
                except OSError:
                    # The idle connection was closed as the request was sent: nothing of it was taken.
                    break
                if not head:
                    break
                while len(body) < 3:
                    more = connection.recv(10)
                    if not more:
                        broken.append(head)
                        return
                    body += more
                count += 1
        answered.append(count)

    clients = [threading.Thread(target=load) for _ in range(16)]
    for client in clients:
        client.start()
    time.sleep(1)
    proxy.signal(signal.SIGTERM)
    for client in clients:
        client.join(30)
    proxy.exits_with(0)
    equal(broken, [])
    equal(len(answered), 16)
    assert sum(answered) > 100, answered
    return f"{sum(answered)} requests"


@suite.case
def a_second_sigterm_ends_at_once(scene):
    upstream = scene.start(Listener(lambda connection: (read_head(connection), time.sleep(60))))
    proxy = scene.start(Transom(scene.folder, upstream.address))
    connection = scene.start(proxy.connect())
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: upstream.connections, "the request is under way")
    proxy.signal(signal.SIGTERM)
    until(lambda: refused(proxy.address), "it drains")
    proxy.signal(signal.SIGTERM)
    proxy.exits_with(0, 5)


@suite.case
def it_starts_again_on_the_same_port(scene):
    nginx = scene.start(Nginx(scene.folder))
    listen = "127.0.0.1:0"
    for _ in range(3):
        with Transom(scene.folder, nginx.address, listen=listen) as proxy:
            # Connections of both ends' closing stay behind in TIME_WAIT.
            equal(code(proxy), "200")
            equal(code(proxy, "--header", "Connection: close"), "200")
            listen = "%s:%d" % proxy.address
            proxy.signal(signal.SIGTERM)
            proxy.exits_with(0)


@suite.case
def a_port_in_use_is_an_error_with_the_address(scene):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        file = scene.folder / "transom.yaml"
        values = {"folder": scene.folder, "listen": address, "upstream": "127.0.0.1:1", "filters": "", "routes": "", "timeouts": ""}
        file.write_text(CONFIGURATION % values)
        program = scene.start(Program([TRANSOM, "run", "-c", str(file)], scene.folder, "transom"))
        program.exits_with(2)
        assert address in program.log.read_text(), program.log.read_text()


@suite.case
def a_second_program_does_not_share_the_port(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    other = scene.folder / "other"
    other.mkdir()
    file = other / "transom.yaml"
    # The port is the first one's, the admin socket is not.
    text = proxy.file.read_text().replace("127.0.0.1:0", "%s:%d" % proxy.address)
    file.write_text(text.replace(f"{scene.folder}/admin.sock", f"{other}/admin.sock"))
    program = scene.start(Program([TRANSOM, "run", "-c", str(file)], other, "transom"))
    program.exits_with(2)
    equal(code(proxy), "200", "the first one serves on")


@suite.case
def a_thousand_connections_leave_no_descriptor_behind(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    # The pools have their connections, and every worker has run.
    for _ in range(50):
        equal(code(proxy), "200")
    before, memory = proxy.descriptors(), proxy.memory()

    connections = [proxy.connect() for _ in range(1000)]
    for number, connection in enumerate(connections):
        # A third says nothing, a third half a head, a third a request whose answer it does not wait for.
        connection.sendall([b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"][number % 3])
    until(lambda: proxy.descriptors() >= before + 1000, "all are accepted")
    peak = proxy.memory()
    for connection in connections:
        connection.close()
    # What the upstream was asked meanwhile stays in the pools; nothing else does.
    upstream_port = int(nginx.address.split(":")[1])
    until(
        lambda: proxy.descriptors() - before <= established_to(proxy.pid, upstream_port),
        "all descriptors but those of the pools are closed",
    )

    for _ in range(1000):
        with proxy.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_head(connection).startswith(b"HTTP/1.1 200 ")
    until(
        lambda: proxy.descriptors() - before <= established_to(proxy.pid, upstream_port),
        "and after a thousand one by one",
    )
    left = proxy.descriptors() - before
    return f"{before} before, {left} more after, {(peak - memory) / 1000 / 1024:.1f} KiB per connection"


def established_to(pid: int, port: int) -> int:
    """Connections of a process's network to a port that are established."""
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(1 for row in rows if row[3] == "01" and int(row[2].split(":")[1], 16) == port)
