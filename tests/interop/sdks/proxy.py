"""Plugins of each language in the real proxy: what a client sees of the filter `rewrite`, `auth` and `callout`."""

import contextlib
import http.client
import http.server
import json
import os
import pathlib
import subprocess
import threading

from suite import equal, until


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers with what it saw; /check is the service that `callout` asks."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size).decode()
                self.rfile.readline()
            self.rfile.readline()
        status, extra = 200, {}
        if self.path == "/check":
            status = 200 if self.headers.get("x-token") == "good" else 401
            extra = {"x-user": "alice"}
        seen = json.dumps({"path": self.path, "user": self.headers.get("x-user"), "body": body}).encode()
        self.send_response(status)
        for name, value in {**extra, "content-length": str(len(seen))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(seen)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


# The virtual hosts of a listener that passes everything on.
ROUTES = '[{domains: ["*"], routes: [{match: {prefix: /}, cluster: up}]}]'


def listener(name: str, filters: str = "", tls: str = "") -> str:
    """A listener in YAML."""
    return f"""
  - name: {name}
    address: 127.0.0.1:0{f"{chr(10)}    tls: {tls}" if tls else ""}
    network_filters:
      - {{name: http, config: {{stream_filters: [{filters}], virtual_hosts: {ROUTES}}}}}"""


class Proxy:
    """The program in a folder, with listeners by their names and what is declared above them; their cluster `up` is an upstream of ours."""

    def __init__(self, folder: pathlib.Path, listeners: dict, declared: str = "", clusters=(), program=""):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.names = list(listeners)
        address = "127.0.0.1:%d" % self.server.server_address[1]
        file = folder / "transom.yaml"
        file.write_text(
            f"{declared}\nlisteners:{''.join(listeners.values())}\nclusters:"
            + "".join(f'\n  - {{name: {name}, endpoints: ["{address}"]}}' for name in ["up", *clusters])
        )
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program or os.environ["TRANSOM"], "run", "-c", file], cwd=folder, stderr=log, stdin=subprocess.DEVNULL
            )

    def __enter__(self):
        try:
            self.ports = until(self.bound, "the proxy listens", 60)
        except AssertionError:
            self.__exit__()
            raise AssertionError(self.log.read_text()) from None
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.server.shutdown()
        self.server.server_close()

    def bound(self):
        if self.process.poll() is not None:
            raise AssertionError("it ended")
        found = {}
        for line in self.log.read_text().splitlines():
            for name in self.names:
                if "listen" in line and f"{name}" in line and "127.0.0.1:" in line:
                    found[name] = int(line.split("127.0.0.1:")[1].split()[0].strip('",'))
        return found if len(found) == len(self.names) else None

    def ask(self, listener, headers=(), body=None, tls=None):
        port = self.ports[listener]
        if tls is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        else:
            connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=tls)
        with contextlib.closing(connection):
            connection.request("POST" if body else "GET", "/", body=body, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer

    def warm(self, **asked):
        """Each worker's first request meets a plugin that is still warming up, which a machine with other work gives too little time."""
        until(lambda: all(self.ask(one, **asked)[0] == 200 for one in self.ports for _ in range(8)), "the plugin is warm", 60)


def shown(scene, command):
    """Auth, body rewrite and callout, as a client sees them."""
    uses = {
        "auth": "{plugin: p/auth, config: {User: admin}}",
        "rewrite": '{plugin: p/rewrite, config: {suffix: "?"}}',
        "callout": "{plugin: p/callout, config: {cluster: auth}}",
    }
    listeners = {name: listener(name, use) for name, use in uses.items()}
    declared = f"plugins:\n  p: {{runtime: process, command: {json.dumps([str(word) for word in command])}}}"
    proxy = scene.start(Proxy(scene.folder, listeners, declared, ["auth"]))
    proxy.warm(headers={"x-token": "good", "user": "admin"})
    equal(proxy.ask("auth", {"user": "admin"})[0], 200, "who may pass")
    status, body, answer = proxy.ask("auth", {"user": "guest"})
    equal((status, body, answer.headers["x-denied-by"]), (403, "denied\n", "auth"), "who may not")
    status, body, answer = proxy.ask("rewrite", body="hello")
    equal((status, answer.headers["x-rewritten"], body[-1]), (200, "yes", "?"), "the rewriter")
    equal(json.loads(body[:-1].lower())["body"], "hello", "what the upstream saw")
    equal('"BODY": "HELLO"' in body, True, body)
    status, body, _ = proxy.ask("callout", {"x-token": "good"})
    equal((status, json.loads(body)["user"]), (200, "alice"), "a callout that lets pass")
    equal(proxy.ask("callout", {"x-token": "bad"})[0], 403, "a callout that denies")
