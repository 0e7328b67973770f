"""The servers run as Transom's plugins: started by it, asked by `plugin: NAME`, started again when they end."""

import json
import os
import pathlib
import shutil
import signal

import peers
from services import FOLDER, PYTHON, Server, suite
from suite import Skip, equal, until

REFUSAL = {"immediate_response": {"status": {"code": 403}}}


class Supervised(peers.Transom):
    """Transom with the server as the plugin `server`, at a Unix socket of its own."""

    def __init__(self, folder: pathlib.Path, backend: int, command: list):
        file = folder / "transom.yaml"
        listener = {
            "stream_filters": [{"plugin": "server", "config": {"processing_mode": {"response_header_mode": "skip"}, "message_timeout": "5s"}}],
            "access_logs": [{"plugin": "sink", "config": {"log_name": "suite", "flush_interval": "100ms"}}],
            "virtual_hosts": [{"domains": ["*"], "routes": [{"match": {"prefix": "/"}, "cluster": "backend"}]}],
        }
        plugins = {}
        for name, protocol in (("server", "ext_proc"), ("sink", "als")):
            socket = f"unix:{folder}/{name}.sock"
            plugins[name] = {
                "runtime": "process", "protocol": protocol, "address": socket, "command": [*command, socket],
                # grpcio keeps its own files and threads: what else it may do is none of this case's business.
                "start_timeout": "30s",
            }
        file.write_text(json.dumps({
            "workers": 1, "plugins": plugins,
            "listeners": [{"name": "ingress", "address": "127.0.0.1:0", "network_filters": [{"name": "http", "config": listener}]}],
            "clusters": [{"name": "backend", "endpoints": [f"127.0.0.1:{backend}"]}],
        }))
        peers.Proxy.__init__(self, [peers.TRANSOM, "run", "-c", str(file)], folder)

    def children(self) -> list[int]:
        found = []
        for children in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            found += map(int, children.read_text().split())
        return found


def make(language):
    def test(scene):
        script, seen = scene.folder / "script.json", scene.folder / "seen.jsonl"
        script.write_text("{}")
        seen.write_text("")
        if language == "go":
            program = [Server.built()]
        else:
            python = shutil.which(PYTHON) or PYTHON
            program = [python, str(FOLDER / "servers/python/server.py")]
            # The same look that the other cases take: skipped where its packages are missing.
            with Server("python", scene.folder):
                pass
        upstream = scene.start(peers.Upstream())
        proxy = scene.start(Supervised(scene.folder, upstream.port, [*program, str(script), str(seen)]))
        equal(proxy.ask({})["status"], 200)
        script.write_text(json.dumps({"request_headers": [{"answer": REFUSAL}]}))
        equal(proxy.ask({})["status"], 403)
        calls = lambda: [json.loads(line)["call"] for line in seen.read_text().splitlines()]
        equal(calls().count("ext_proc"), 2)
        until(lambda: "als" in calls(), "a record of the requests")
        script.write_text("{}")
        before = proxy.children()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(proxy.children()) == len(before) and not set(proxy.children()) & set(before), "other processes")
        until(lambda: proxy.ask({})["status"] == 200, "an answer of the new one")

    test.__name__ = f"plugins {language}: servers that Transom runs"
    return test


for language in ("go", "python"):
    suite.case(make(language))
