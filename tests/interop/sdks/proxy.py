"""Plugins of each language in the real proxy: what a client sees of the filter `rewrite`, `auth` and `callout`."""

import http.client
import http.server
import json
import os
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


class Proxy:
    """The program with one plugin, whose uses stand in three listeners."""

    def __init__(self, folder, command):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        uses = {
            "auth": '{plugin: p/auth, config: {User: admin}}',
            "rewrite": '{plugin: p/rewrite, config: {suffix: "?"}}',
            "callout": '{plugin: p/callout, config: {cluster: auth}}',
        }
        listeners = "".join(
            f"""
  - name: {name}
    address: 127.0.0.1:0
    network_filters:
      - name: http
        config:
          stream_filters: [{use}]
          virtual_hosts: [{{domains: ["*"], routes: [{{match: {{prefix: /}}, cluster: up}}]}}]"""
            for name, use in uses.items()
        )
        address = "127.0.0.1:%d" % self.server.server_address[1]
        file = folder / "transom.yaml"
        file.write_text(
            f"plugins:\n  p: {{runtime: process, command: {json.dumps([str(word) for word in command])}}}\n"
            f"listeners:{listeners}\n"
            f"clusters:\n  - {{name: up, endpoints: [\"{address}\"]}}\n  - {{name: auth, endpoints: [\"{address}\"]}}\n"
        )
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([os.environ["TRANSOM"], "run", "-c", file], stderr=log, stdin=subprocess.DEVNULL)

    def __enter__(self):
        self.ports = until(self.bound, "the proxy listens", 60)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.server.shutdown()

    def bound(self):
        if self.process.poll() is not None:
            raise AssertionError(self.log.read_text())
        found = {}
        for line in self.log.read_text().splitlines():
            for name in ("auth", "rewrite", "callout"):
                if "listen" in line and f"{name}" in line and "127.0.0.1:" in line:
                    found[name] = int(line.split("127.0.0.1:")[1].split()[0].strip('",'))
        return found if len(found) == 3 else None

    def ask(self, listener, headers=(), body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[listener], timeout=20)
        connection.request("POST" if body else "GET", "/", body=body, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer


def shown(scene, command):
    """Auth, body rewrite and callout, as a client sees them."""
    proxy = scene.start(Proxy(scene.folder, command))
    # Each worker's first request meets a plugin that is still warming up, which a machine with other work gives too little time.
    until(lambda: all(proxy.ask(one, {"x-token": "good", "user": "admin"})[0] == 200 for one in proxy.ports for _ in range(8)), "the plugin is warm")
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
