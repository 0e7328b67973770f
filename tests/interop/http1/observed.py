"""The admin endpoints, and load as a whole."""

import json
import re
import shutil
import signal
import subprocess
import threading

from http1 import suite
from processes import Listener, Nginx, Transom, Wrk, curl, read_head
from suite import equal, until

SAMPLE = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*"(,[a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*")*\})? \S+$')


def metrics(proxy: Transom) -> str:
    status, body = proxy.admin("GET", "/metrics")
    equal(status, 200)
    return body.decode()


def requests_counted(proxy: Transom) -> float:
    lines = [line for line in metrics(proxy).splitlines() if re.match(r"transom_\w*requests_total\{", line)]
    assert lines, "no metric counts requests"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@suite.case
def wrk_sees_no_error(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    wrk = scene.start(Wrk(scene.folder, proxy.url + "/", seconds=2, connections=64))
    result = wrk.result()
    equal(result["errors"], [0] * 5, "errors of connect, read, write, status, timeout")
    assert result["requests"] > 500, result
    return f"{result['requests']} requests"


@suite.case
def metrics_count_each_request_and_have_prometheus_form(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    before = requests_counted(proxy)
    for _ in range(50):
        equal(curl(f"{proxy.url}/a"), "/a\n")
    equal(requests_counted(proxy) - before, 50)
    text = metrics(proxy)
    for line in text.splitlines():
        if not line.startswith("#"):
            assert SAMPLE.match(line), f"no sample of Prometheus: {line!r}"
            float(line.rsplit(" ", 1)[1])
    types = re.findall(r"^# TYPE (\S+)", text, re.M)
    equal(sorted(types), sorted(set(types)), "each family once")


def promtool_finds_nothing_to_say_of_the_metrics(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    equal(curl(f"{proxy.url}/a"), "/a\n")
    check = subprocess.run(["promtool", "check", "metrics"], input=metrics(proxy), capture_output=True, text=True)
    equal((check.returncode, check.stdout + check.stderr), (0, ""))


# Debian has it in `prometheus`, which brings a server and much else: not installed for this, but used where it is.
if shutil.which("promtool"):
    suite.case(promtool_finds_nothing_to_say_of_the_metrics)


@suite.case
def config_dump_is_json_and_names_what_is_active(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    status, body = proxy.admin("GET", "/config_dump")
    equal(status, 200)
    text = json.dumps(json.loads(body))
    for word in ("ingress", "backend", nginx.address):
        assert word in text, f"{word} is not in the dump"
    proxy.write(upstream="127.0.0.1:9")
    proxy.signal(signal.SIGHUP)
    until(lambda: b"127.0.0.1:9\"" in proxy.admin("GET", "/config_dump")[1], "the dump follows a reload")


@suite.case
def ready_says_503_while_it_drains(scene):
    go_on = threading.Event()

    def serve(connection):
        read_head(connection)
        go_on.wait(60)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream = scene.start(Listener(serve))
    proxy = scene.start(Transom(scene.folder, upstream.address))
    equal(proxy.admin("GET", "/ready")[0], 200)
    connection = scene.start(proxy.connect())
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: upstream.connections, "a request is under way")
    proxy.signal(signal.SIGTERM)
    until(lambda: proxy.admin("GET", "/ready")[0] == 503, "it is not ready while it drains")
    go_on.set()
    proxy.exits_with(0)


@suite.case
def admin_is_not_on_the_traffic_port(scene):
    nginx = scene.start(Nginx(scene.folder))
    proxy = scene.start(Transom(scene.folder, nginx.address))
    for path in ("/ready", "/metrics", "/config_dump"):
        equal(curl(f"{proxy.url}{path}"), f"{path}\n", "nginx answers")
