"""Heads, and connections that go on: keep-alive, pipelining, HEAD, HTTP/1.0, Expect, statuses without a body."""

import socket
import time

from http1 import suite
from processes import HEADER_MATCH, Listener, Nginx, Transom, curl, read_exactly, read_head, read_to_end
from suite import equal, until


def before_nginx(scene) -> Transom:
    nginx = scene.start(Nginx(scene.folder))
    return scene.start(Transom(scene.folder, nginx.address))


@suite.case
def http_client_keeps_one_connection_for_a_hundred_requests(scene):
    proxy = before_nginx(scene)
    client = proxy.client()
    client.connect()
    port = client.sock.getsockname()[1]
    for number in range(100):
        client.request("GET", f"/{number}?q={number}", headers={"X-Number": str(number)})
        answer = client.getresponse()
        equal((answer.status, answer.read()), (200, f"/{number}?q={number}\n".encode()))
        equal(client.sock.getsockname()[1], port, "the client's port")
    client.close()


@suite.case
def curl_uses_one_connection_for_many_urls(scene):
    proxy = before_nginx(scene)
    urls = [f"{proxy.url}/{number}" for number in range(20)]
    equal(
        curl("--write-out", "%{num_connects} ", *urls).replace("\n", " ").split(),
        [word for number in range(20) for word in (f"/{number}", "1" if number == 0 else "0")],
    )


@suite.case
def fifty_pipelined_requests_are_answered_in_their_order(scene):
    proxy = before_nginx(scene)
    with proxy.connect() as connection:
        requests = [f"GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n" for number in range(49)]
        requests.append("GET /49 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        connection.sendall("".join(requests).encode())
        answers = read_to_end(connection).decode()
    bodies = [answer.split("\r\n\r\n", 1)[1] for answer in answers.split("HTTP/1.1 200 OK\r\n")[1:]]
    equal(bodies, [f"/{number}\n" for number in range(50)])


@suite.case
def the_upstream_connection_is_used_again(scene):
    def serve(connection):
        while read_head(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address))
    for _ in range(20):
        equal(curl(proxy.url), "ok")
    # One for each of the two workers.
    assert upstream.connections <= 2, f"{upstream.connections} connections for 20 requests"


@suite.case
def head_has_the_length_and_no_body(scene):
    proxy = before_nginx(scene)
    (scene.folder / "files/a").write_bytes(b"x" * 12345)
    head = curl("--head", f"{proxy.url}/files/a")
    assert "\ncontent-length: 12345\n" in head.lower(), head
    client = proxy.client()
    for _ in range(3):
        client.request("HEAD", "/files/a")
        answer = client.getresponse()
        equal((answer.status, answer.getheader("Content-Length"), answer.read()), (200, "12345", b""))
        client.request("GET", "/files/a")
        equal(len(client.getresponse().read()), 12345, "a GET behind a HEAD on the same connection")
    client.close()


@suite.case
def statuses_without_a_body_keep_the_connection(scene):
    proxy = before_nginx(scene)
    (scene.folder / "files/a").write_bytes(b"x" * 100)
    client = proxy.client()
    client.request("GET", "/files/a")
    answer = client.getresponse()
    tag = answer.getheader("ETag")
    answer.read()
    port = client.sock.getsockname()[1]
    for path, headers, expected in [
        ("/files/a", {"If-None-Match": tag}, (304, b"")),
        ("/empty", {}, (204, b"")),
        ("/files/a", {"Range": "bytes=10-19"}, (206, b"x" * 10)),
        ("/files/none", {}, None),
    ]:
        client.request("GET", path, headers=headers)
        answer = client.getresponse()
        seen = (answer.status, answer.read())
        if expected is None:
            equal(seen[0], 404)
        else:
            equal(seen, expected)
        equal(client.sock.getsockname()[1], port, "the client's port")
    client.close()


@suite.case
def fields_that_come_twice_stay_two_and_in_order(scene):
    proxy = before_nginx(scene)
    client = proxy.client()
    client.request("GET", "/cookies")
    answer = client.getresponse()
    answer.read()
    equal(answer.headers.get_all("Set-Cookie"), ["a=1", "b=2"])
    client.close()


@suite.case
def http_1_0_clients_get_a_closed_connection_and_no_chunks(scene):
    def serve(connection):
        while read_head(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address))
    equal(curl("--http1.0", proxy.url), "abcdefg")
    with proxy.connect() as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        head, body = read_to_end(connection).split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.0 200 OK\r\n"), head
    assert b"chunked" not in head.lower(), head
    equal(body, b"abcdefg")


@suite.case
def http_1_0_keep_alive_is_kept_when_it_is_asked_for(scene):
    proxy = before_nginx(scene)
    with proxy.connect() as connection:
        for number in range(3):
            connection.sendall(b"GET /%d HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" % number)
            head = bytearray()
            while not head.endswith(b"\r\n\r\n"):
                head += read_exactly(connection, 1)
            assert b"\r\nconnection: keep-alive\r\n" in head.lower(), head
            equal(read_exactly(connection, 3), b"/%d\n" % number)


@suite.case
def curl_that_expects_100_continue_is_told_to_go_on(scene):
    proxy = before_nginx(scene)
    body = scene.folder / "body"
    body.write_bytes(b"x" * (1 << 20))
    start = time.monotonic()
    # curl would wait for thirty seconds for the word.
    upload = ["--header", "Expect: 100-continue", "--expect100-timeout", "30", "--upload-file", str(body)]
    equal(curl(*upload, "--write-out", "%{http_code}", f"{proxy.url}/files/b"), "201")
    assert time.monotonic() - start < 15, "curl was not told to go on"
    equal((scene.folder / "files/b").read_bytes(), body.read_bytes())


@suite.case
def a_refused_request_with_expect_sends_no_body(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address, HEADER_MATCH))
    body = scene.folder / "body"
    body.write_bytes(b"x" * (1 << 20))
    upload = ["--header", "Expect: 100-continue", "--expect100-timeout", "30", "--upload-file", str(body)]
    out = ["--output", "/dev/null", "--write-out", "%{http_code} %{size_upload}"]
    equal(curl(*upload, *out, f"{proxy.url}/files/b"), "403 0")


@suite.case
def an_unknown_expectation_is_417(scene):
    proxy = before_nginx(scene)
    out = ["--output", "/dev/null", "--write-out", "%{http_code}"]
    equal(curl("--header", "Expect: a miracle", *out, proxy.url), "417")


@suite.case
def an_interim_response_reaches_the_client(scene):
    def serve(connection):
        while read_head(connection):
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address))
    answer = curl("--include", proxy.url)
    assert answer.startswith("HTTP/1.1 103 "), answer
    assert "\nLink: </a>\n" in answer, answer
    assert "\nHTTP/1.1 200 OK\n" in answer, answer
    equal(answer[-2:], "ok")


@suite.case
def an_upstream_that_breaks_off_breaks_the_answer_off(scene):
    def serve(connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        connection.shutdown(socket.SHUT_WR)

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address))
    # 18: a partial file. An end that looks whole would be a lie.
    equal(curl(proxy.url, code=18), "half")


@suite.case
def a_body_that_is_refused_half_way_does_not_look_whole_to_the_upstream(scene):
    seen = []

    def serve(connection):
        seen.append(read_to_end(connection))

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address))
    with proxy.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        until(lambda: upstream.connections, "the upstream is connected")
        connection.sendall(b"XX\r\n")
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    until(lambda: seen, "the upstream's connection ends")
    assert seen[0].startswith(b"POST / HTTP/1.1\r\n"), seen
    assert not seen[0].endswith(b"0\r\n\r\n"), seen

