"""PROXY protocol to servers that others have written: do they take it, and whom do they see?"""

import json
import os
import pathlib
import shutil
import socket
import subprocess

from listeners import Proxy, free_port, suite
from processes import Program, curl
from suite import Skip, equal, needs, until

ENVOY = os.environ.get("ENVOY") or shutil.which("envoy")

NGINX = """\
daemon off;
worker_processes 1;
error_log stderr warn;
pid %(folder)s/nginx.pid;
events {}
http {
    access_log off;
    server {
        listen 127.0.0.1:%(port)d proxy_protocol;
        location / { return 200 "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port\\n"; }
    }
}
"""

HAPROXY = """\
global
    log stderr local0
defaults
    mode http
    timeout client 20s
    timeout server 20s
    timeout connect 5s
frontend in
    bind 127.0.0.1:%(port)d accept-proxy
    http-request return status 200 content-type text/plain lf-string "%%[src]:%%[src_port] %%[dst]:%%[dst_port] %%[fc_pp_authority,length] %%[fc_pp_authority] %%[fc_pp_unique_id,length]\\n"
"""


class Peer(Program):
    def __init__(self, command: list[str], folder: pathlib.Path, name: str, port: int):
        super().__init__(command, folder, name)
        until(lambda: self.accepts(port), f"{name} is ready")

    def accepts(self, port: int) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"it ended:\n{self.log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            return True
        except OSError:
            return False


def nginx(folder: pathlib.Path, port: int) -> Peer:
    file = folder / "nginx.conf"
    file.write_text(NGINX % {"folder": folder, "port": port})
    return Peer([needs("nginx"), "-p", str(folder), "-c", str(file)], folder, "nginx", port)


def haproxy(folder: pathlib.Path, port: int) -> Peer:
    file = folder / "haproxy.cfg"
    file.write_text(HAPROXY % {"port": port})
    return Peer([needs("haproxy"), "-db", "-f", str(file)], folder, "haproxy", port)


def envoy(folder: pathlib.Path, port: int) -> Peer:
    if ENVOY is None:
        raise Skip("envoy is not installed; .ci/tools installs it")

    def typed(name, kind, config=None):
        return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.filters.{kind}", **(config or {})}}

    text = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS%\n"
    # What of a connection's header it keeps, requests do not show: the log of connections does.
    value = "%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:authority)%\n"
    log = {"path": str(folder / "connections.log"), "log_format": {"text_format_source": {"inline_string": value}}}
    local_reply = {"body_format": {"text_format_source": {"inline_string": text}}}
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [typed("router", "http.router.v3.Router")],
        "local_reply_config": local_reply,
    }
    rules = {"rules": [{"tlv_type": 2, "on_tlv_present": {"key": "authority"}}]}
    file_log = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    listener = {
        "name": "in",
        "access_log": [{"name": "file", "typed_config": {"@type": file_log, **log}}],
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "listener_filters": [typed("proxy_protocol", "listener.proxy_protocol.v3.ProxyProtocol", rules)],
        "filter_chains": [
            {"filters": [typed("http", "network.http_connection_manager.v3.HttpConnectionManager", manager)]}
        ],
    }
    file = folder / "envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
    return Peer([ENVOY, "-c", str(file), *options], folder, "envoy", port)


def configuration(ports: dict[str, int], version: int, certificate: str) -> str:
    """Listeners `http`, `tcp` and `tls` before one host that wants the header."""
    values = ", values: [authority, alpn, unique_id]" if version == 2 else ""
    http = "[{name: http, config: {virtual_hosts: [{domains: ['*'], routes: [{match: {prefix: /}, cluster: up}]}]}}]"
    return f"""\
listeners:
  - {{name: http, address: '127.0.0.1:{ports["http"]}', network_filters: {http}}}
  - {{name: tcp, address: '127.0.0.1:{ports["tcp"]}', network_filters: [{{name: tcp_proxy, config: {{cluster: up}}}}]}}
  - {{name: tls, address: '127.0.0.1:{ports["tls"]}', tls: {certificate}, network_filters: {http}}}
clusters:
  - name: up
    endpoints: ['127.0.0.1:{ports["up"]}']
    proxy_protocol: {{version: {version}{values}}}
    health_check: {{interval: 100ms, timeout: 2s, unhealthy_threshold: 1, initially: unhealthy, http: {{path: /}}}}
"""


def self_signed(folder: pathlib.Path) -> str:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=a.test"]
    command = [needs("openssl"), "req", *options, "-addext", "subjectAltName=DNS:a.test"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return f"{{certificates: [{{certificate: '{certificate}', private_key: '{key}'}}]}}"


def check(scene, start):
    for version in (1, 2):
        ports = {name: free_port() for name in ("http", "tcp", "tls", "up")}
        folder = scene.folder / f"v{version}"
        folder.mkdir()
        scene.start(start(folder, ports["up"]))
        proxy = scene.start(Proxy(folder, configuration(ports, version, self_signed(folder))))
        # The health checks' LOCAL is taken too: until one has succeeded there is no healthy host.
        until(lambda: '"healthy":true' in proxy.get("/clusters")[1].replace(" ", ""), f"version {version}: the host is healthy")
        for listener in ("http", "tcp", "tls"):
            from_port = free_port()
            scheme = "https" if listener == "tls" else "http"
            options = ["--insecure", "--resolve", f"a.test:{ports[listener]}:127.0.0.1", "--local-port", str(from_port)]
            seen = curl(*options, f"{scheme}://a.test:{ports[listener]}/").split()
            equal(seen[:2], [f"127.0.0.1:{from_port}", f"127.0.0.1:{ports[listener]}"], f"version {version}, {listener}")
            if start is haproxy and version == 2 and listener == "tls":
                assert "a.test" in seen, seen
            if start is haproxy and version == 2:
                equal(seen[-1], "32", "length of the identifier")
        if start is envoy and version == 2:
            log = folder / "connections.log"
            until(lambda: "a.test" in log.read_text(), "the name in the log of connections")
        # Two requests of one client's connection come over one to the host, those of another over another.
        local = ["--local-port", str(free_port())]
        url = f"http://127.0.0.1:{ports['http']}/"
        lines = curl(*local, url, url).splitlines()
        equal(lines[0], lines[1], "two requests of one connection")
        assert curl(url).splitlines()[0] != lines[0], lines


@suite.case
def nginx_sees_the_client(scene):
    check(scene, nginx)


@suite.case
def haproxy_sees_the_client_and_what_it_asked_for(scene):
    check(scene, haproxy)


@suite.case
def envoy_sees_the_client_and_what_it_asked_for(scene):
    check(scene, envoy)
