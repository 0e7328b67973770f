"""What the cases share: the servers in Go and Python, Envoy and Transom before them, and the comparison."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import peers
from suite import Skip, Suite, until

suite = Suite("process")
FOLDER = pathlib.Path(__file__).resolve().parent
PYTHON = os.environ.get("SERVICES_PYTHON", sys.executable)


class Server:
    """A server of services, in Go or Python; it does what `script` says."""

    _built = None

    def __init__(self, language: str, folder: pathlib.Path):
        self.language = language
        self.script_file = folder / f"{language}-script.json"
        self.seen_file = folder / f"{language}-seen.jsonl"
        self.plays({})
        self.forget()

    def __enter__(self):
        files = [str(self.script_file), str(self.seen_file)]
        if self.language == "go":
            command = [Server.built(), *files]
        else:
            if subprocess.run([PYTHON, "-c", "import grpc, envoy.service.ext_proc.v3"], capture_output=True).returncode:
                raise Skip("grpcio or xds-protos is not installed; .ci/tools installs them")
            command = [PYTHON, str(FOLDER / "servers/python/server.py"), *files]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @staticmethod
    def built() -> str:
        """The server in Go, built once."""
        if Server._built is None:
            if shutil.which("go") is None:
                raise Skip("go is not installed")
            folder = pathlib.Path(os.environ.get("TRANSOM_CACHE", tempfile.gettempdir())) / "process-suite"
            folder.mkdir(parents=True, exist_ok=True)
            Server._built = str(folder / "services")
            subprocess.run(["go", "build", "-o", Server._built, "."], cwd=FOLDER / "servers/go", check=True)
        return Server._built

    def plays(self, script: dict):
        self.script_file.write_text(json.dumps(script))

    def forget(self):
        self.seen_file.write_text("")

    def seen(self) -> list[dict]:
        return [json.loads(line) for line in self.seen_file.read_text().splitlines()]


bootstrap_of = peers.envoy_bootstrap


def with_server(clusters, filters, route, manager):
    """The configuration of Envoy with its cluster `server`, which speaks HTTP/2."""
    server = clusters.pop("server")
    bootstrap = bootstrap_of(clusters, filters, route, manager)
    http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": server}}}
    bootstrap["static_resources"]["clusters"].append({
        "name": "server",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            http2: {"@type": f"type.googleapis.com/{http2}", "explicit_http_config": {"http2_protocol_options": {}}},
        },
        "load_assignment": {"cluster_name": "server", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    })
    return bootstrap


peers.envoy_bootstrap = with_server


class Both:
    """Envoy and Transom with the same server and an upstream each."""

    def __init__(self, scene, server: Server, envoy: list, transom: list, envoy_route=None, transom_route=None, manager=None):
        if peers.ENVOY is None:
            raise Skip("envoy is not installed; .ci/tools installs it")
        self.server = server
        self.proxies = {}
        for which in ("envoy", "transom"):
            upstream = scene.start(peers.Upstream())
            folder = scene.folder / f"{which}-{len(list(scene.folder.iterdir()))}"
            folder.mkdir()
            ports = {"backend": upstream.port}
            if which == "envoy":
                route = {key: dict(value) for key, value in (envoy_route or {}).items()}
                proxy = peers.Envoy(folder, ports | {"server": server.port}, envoy, route, manager or {})
            else:
                proxy = peers.Transom(folder, ports, transom, transom_route or {}, {})
            self.proxies[which] = (scene.start(proxy), upstream)

    def ask(self, request: dict, script: dict, settle: float = 0) -> dict:
        """What came of a request, with each; `settle`: how long the server may still be busy with it."""
        outcome = {}
        for which, (proxy, upstream) in self.proxies.items():
            self.server.plays(script)
            self.server.forget()
            try:
                answer = proxy.ask(request)
            except Exception as error:
                answer = {"status": f"none: {type(error).__name__}"}
            if settle:
                time.sleep(settle)
            outcome[which] = {"answer": answer, "upstream": upstream.take(), "server": self.server.seen(), "log": proxy.log}
        return outcome


def differences(outcome: dict, views: dict) -> list[str]:
    """What differs, view by view: each is a function of an outcome."""
    found = []
    for name, view in views.items():
        envoy, transom = (view(outcome[which]) for which in ("envoy", "transom"))
        if envoy != transom:
            found.append(f"{name}\n    Envoy   {envoy}\n    Transom {transom}")
    return found
