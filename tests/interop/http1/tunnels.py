"""Tunnels with programs of others at both ends: WebSocket by Python's `websockets` and by nginx, CONNECT by curl."""

import asyncio
import socket

from http1 import suite
from processes import Listener, Nginx, Transom, curl, read_exactly, read_head, read_to_end
from suite import Skip, equal

try:
    import websockets
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve
except ImportError:
    websockets = None

MIB = 1 << 20
TERMINATE = "{match: {connect: true}, cluster: backend, terminate_connect: true}, "
FORWARD = "{match: {connect: true}, cluster: backend}, "

# nginx between Transom and the WebSocket server: it is asked for the upgrade, and asks on.
UPGRADE = """
        location /ws {
            proxy_pass http://%s;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }
"""


def needs_websockets():
    if websockets is None:
        raise Skip("Python's websockets is not installed; .ci/tools installs it")


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    except websockets.ConnectionClosed:
        pass  # With a code of the client's own.


async def talk(url: str):
    """All that two honest ends say to each other."""
    async with connect(url, max_size=8 * MIB, compression=None) as client:
        await client.send("text")
        equal(await client.recv(), "text")
        large = bytes(range(256)) * (4 * MIB // 256)
        await client.send(large)
        equal(await client.recv() == large, True, "4 MiB come back")
        await asyncio.wait_for(await client.ping(), 10)
        await client.close(4000, "enough")
    equal((client.close_code, client.close_reason), (4000, "enough"))


def run(scene, url_of, many: int = 1):
    """Runs a WebSocket server, and clients to the URL that `url_of` makes of its address."""

    async def both():
        async with serve(echo, "127.0.0.1", 0, max_size=8 * MIB, compression=None) as server:
            host, port = server.sockets[0].getsockname()
            url = await asyncio.to_thread(url_of, f"{host}:{port}")
            await asyncio.gather(*(talk(url) for _ in range(many)))

    asyncio.run(both())


@suite.case
def a_websocket_passes(scene):
    needs_websockets()

    def url(server: str) -> str:
        proxy = scene.start(Transom(scene.folder, server))
        return f"ws://{proxy.address[0]}:{proxy.address[1]}/ws"

    run(scene, url)


@suite.case
def many_websockets_pass_two_filters_at_once(scene):
    needs_websockets()
    filters = "{name: noop}, {name: compressor}"

    def url(server: str) -> str:
        proxy = scene.start(Transom(scene.folder, server, filters))
        return f"ws://{proxy.address[0]}:{proxy.address[1]}/ws"

    run(scene, url, many=50)


@suite.case
def a_websocket_passes_nginx_behind_the_proxy(scene):
    needs_websockets()

    def url(server: str) -> str:
        nginx = scene.start(Nginx(scene.folder, UPGRADE % server))
        proxy = scene.start(Transom(scene.folder, nginx.address))
        return f"ws://{proxy.address[0]}:{proxy.address[1]}/ws"

    run(scene, url)


@suite.case
def an_upgrade_that_nginx_does_not_know_is_a_plain_request(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    with proxy.connect() as client:
        upgrade = b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        # Sent ahead: had the tunnel been taken for open, nginx would see the second as one of its own requests.
        client.sendall(upgrade % 1 + upgrade % 2)
        for number in (b"/1\n", b"/2\n"):
            behind = bytearray()
            head = read_head(client, behind)
            equal(head.split(b" ")[1], b"200")
            body = bytes(behind[:3]) + read_exactly(client, max(0, 3 - len(behind)))
            equal(body, number)
            if len(behind) > 3:
                # Both answers came at once.
                equal(b"200 OK" in behind and behind.endswith(b"/2\n"), True)
                break


@suite.case
def curl_that_offers_http2_is_served_by_http1(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    told = curl("--http2", "--write-out", "%{http_version} %{http_code}", proxy.url + "/h2c")
    equal(told, "/h2c\n1.1 200")


@suite.case
def curl_reaches_a_host_by_connect(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address, routes=TERMINATE))
    target = "http://shop.test:80/by-connect"
    told = curl("--proxytunnel", "--proxy", proxy.url, "--write-out", "%{http_connect} %{http_code}", target, target)
    equal(told, "/by-connect\n200 200/by-connect\n000 200", "the second request goes through the same tunnel")


@suite.case
def curl_reaches_a_host_by_connect_through_two_proxies(scene):
    nginx = scene.start(Nginx(scene.folder))
    inner, outer = scene.folder / "inner", scene.folder / "outer"
    inner.mkdir()
    outer.mkdir()
    last = scene.start(Transom(inner, nginx.address, routes=TERMINATE))
    first = scene.start(Transom(outer, "%s:%d" % last.address, routes=FORWARD))
    told = curl("--proxytunnel", "--proxy", first.url, "--write-out", "%{http_connect}", "http://shop.test:80/chain")
    equal(told, "/chain\n200")


@suite.case
def curl_is_told_that_there_is_no_connect(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    # 56: the proxy's answer to CONNECT is not 2xx.
    told = curl("--proxytunnel", "--proxy", proxy.url, "--write-out", "%{http_connect}", "http://a.test:80/", code=56)
    equal(told, "501")


@suite.case
def a_tunnel_passes_the_end_of_either_side_on(scene):
    def serve(connection: socket.socket):
        received = read_to_end(connection)
        connection.sendall(b"got %d" % len(received))

    host = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, host.address, routes=TERMINATE))
    with proxy.connect() as client:
        client.sendall(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
        equal(read_head(client).split(b" ")[1], b"200")
        client.sendall(b"x" * MIB)
        client.shutdown(socket.SHUT_WR)
        equal(read_to_end(client), b"got %d" % MIB)


@suite.case
def a_client_that_ends_its_direction_is_answered(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    with proxy.connect() as client:
        client.sendall(b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        equal(read_to_end(client).endswith(b"/half\n"), True)
