"""Network filters: the same bytes through Envoy's and through Transom's, and what came of them."""

import json
import os
import pathlib
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Callable

from peers import ENVOY, TRANSOM, WORKERS, Envoy, Proxy, Transom

# Longer than anything takes; a step that waits for nothing says how long it does.
PATIENCE = 5


class Bytes:
    """Says its name to whoever connects, then what comes, in capitals, and `!` when the other side has ended."""

    def __init__(self, name: str):
        self.name = name.encode()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.ended = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.ended:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket):
        with connection:
            try:
                connection.sendall(self.name)
                while piece := connection.recv(65536):
                    connection.sendall(piece.upper())
                connection.sendall(b"!")
            except OSError:
                pass  # A proxy that gives a connection up is part of the test.

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended = True
        self.socket.close()


class Datagrams(Bytes):
    """Answers each datagram with its name and the datagram in capitals."""

    def __init__(self, name: str):
        self.name = name.encode()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.ended = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.ended:
            try:
                datagram, sender = self.socket.recvfrom(65536)
                self.socket.sendto(self.name + datagram.upper(), sender)
            except OSError:
                return


class NetworkEnvoy(Envoy):
    def __init__(self, folder: pathlib.Path, clusters: dict[str, int], listener: dict, is_udp: bool):
        self.admin = folder / "envoy-admin"
        address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
        bootstrap = {
            "admin": {"address": address},
            "static_resources": {
                "listeners": [
                    {
                        "name": "ingress",
                        "address": {"socket_address": {**address["socket_address"], "protocol": "UDP" if is_udp else "TCP"}},
                        **listener,
                    }
                ],
                "clusters": [
                    {
                        "name": name,
                        "type": "STATIC",
                        "connect_timeout": "1s",
                        "load_assignment": {
                            "cluster_name": name,
                            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                                "socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}],
                        },
                    }
                    for name, port in clusters.items()
                ],
            },
        }
        file = folder / "envoy.json"
        file.write_text(json.dumps(bootstrap))
        options = ["--disable-hot-restart", "--concurrency", str(WORKERS), "--log-level", "warning"]
        Proxy.__init__(self, [ENVOY, "-c", str(file), "--admin-address-path", str(self.admin), *options], folder)


class NetworkTransom(Transom):
    def __init__(self, folder: pathlib.Path, clusters: dict[str, int], listener: dict, is_udp: bool):
        self.is_udp = is_udp
        configuration = {
            "workers": WORKERS,
            "listeners": [{"name": "ingress", "address": "udp:127.0.0.1:0" if is_udp else "127.0.0.1:0", **listener}],
            "clusters": [{"name": name, "endpoints": [f"127.0.0.1:{port}"]} for name, port in clusters.items()],
        }
        file = folder / "transom.yaml"
        file.write_text(json.dumps(configuration))
        Proxy.__init__(self, [TRANSOM, "run", "-c", str(file)], folder)

    def find_port(self):
        if not self.is_udp:
            return super().find_port()
        inodes = set()
        try:
            for entry in os.scandir(f"/proc/{self.process.pid}/fd"):
                target = os.readlink(entry.path)
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
            lines = pathlib.Path(f"/proc/{self.process.pid}/net/udp").read_text().splitlines()
        except OSError:
            return None
        for line in lines[1:]:
            fields = line.split()
            if fields[9] in inodes:
                return int(fields[1].rpartition(":")[2], 16)
        return None


def envoy_filter(kind: str, config: dict | None = None) -> dict:
    """`kind` is what stands below `envoy.extensions.filters.network.`."""
    return {
        "name": f"envoy.filters.network.{kind.partition('.')[0]}",
        "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.filters.network.{kind}", **(config or {})},
    }


def chain(*filters: dict, **more) -> dict:
    return {"filter_chains": [{"filters": list(filters), **more}]}


def tcp_proxy(cluster: str, **more) -> dict:
    return envoy_filter("tcp_proxy.v3.TcpProxy", {"stat_prefix": "tcp", "cluster": cluster, **more})


@dataclass
class NetworkCase:
    name: str
    # The listener's keys beside its name and address.
    envoy: dict
    transom: dict
    # What is done, each a function of the proxy's port; what they give back must be the same.
    requests: list[Callable]
    # And this.
    expected: list
    clusters: tuple = ("backend",)
    # Clusters whose host is not there.
    gone: tuple = ()
    is_udp: bool = False
    # Called with the case's folder, `@FOLDER@`, before anything starts.
    prepare: Callable | None = None

    def run(self, folder: pathlib.Path):
        if self.prepare:
            self.prepare(folder)
        text = {"envoy": json.dumps(self.envoy), "transom": json.dumps(self.transom)}
        seen = {}
        for which, proxy in (("envoy", NetworkEnvoy), ("transom", NetworkTransom)):
            with ExitStack() as stack:
                upstream = Datagrams if self.is_udp else Bytes
                ports = {name: stack.enter_context(upstream(name)).port for name in self.clusters}
                ports |= {name: unused_port() for name in self.gone}
                listener = json.loads(text[which].replace("@FOLDER@", str(folder)))
                running = stack.enter_context(proxy(folder, ports, listener, self.is_udp))
                seen[which] = [request(running.port) for request in self.requests]
        differences = [
            f"step {number}\n    Envoy   {envoy!r:.400}\n    Transom {transom!r:.400}"
            for number, (envoy, transom) in enumerate(zip(seen["envoy"], seen["transom"]))
            if envoy != transom
        ]
        if differences:
            raise AssertionError("\n  ".join(["Envoy and Transom differ", *differences]))
        assert seen["transom"] == self.expected, f"both came to {seen['transom']!r:.800}, not to {self.expected!r:.800}"


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rest(connection: socket.socket) -> bytes:
    """What comes until the other side ends; a reset is an end here: which of the two it is depends on unread bytes."""
    came = b""
    try:
        while piece := connection.recv(65536):
            came += piece
    except ConnectionResetError:
        pass
    return came


def says(*pieces: bytes, source: str | None = None, ends: bool = True) -> Callable:
    """Sends, ends its direction, and gives back all that came."""

    def talk(port: int) -> bytes:
        origin = (source, 0) if source else None
        with socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=origin) as connection:
            try:
                for piece in pieces:
                    connection.sendall(piece)
                if ends:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # It was closed already; what came tells.
            return rest(connection)

    return talk


def answers(*pieces: bytes) -> Callable:
    """Sends each piece when as many bytes as the one before have come, and gives back what came."""

    def talk(port: int) -> list[bytes]:
        came = []
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            for piece in pieces:
                connection.sendall(piece)
                back = b""
                while len(back) < len(piece) and (more := connection.recv(65536)):
                    back += more
                came.append(back)
        return came

    return talk


def is_closed_in(least: float, most: float) -> Callable:
    """Says nothing, and is closed after a time within these bounds."""

    def wait(port: int) -> bool:
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            rest(connection)
            return least <= time.monotonic() - begun <= most

    return wait


def asks_for(name: str | None) -> Callable:
    """A TLS handshake with this name, and what comes then."""

    def talk(port: int) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            try:
                with context.wrap_socket(connection, server_hostname=name) as secured:
                    return secured.recv(64)
            except (ssl.SSLError, ConnectionError):
                return b""

    return talk


def sends(*datagrams: bytes, source: str = "127.0.0.1") -> Callable:
    """Sends each datagram from one socket when the answer to the one before has come."""

    def talk(port: int) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((source, 0))
            client.connect(("127.0.0.1", port))
            client.settimeout(PATIENCE)
            answers = []
            for datagram in datagrams:
                client.send(datagram)
                answers.append(client.recv(65536))
            return answers

    return talk


def certificate(folder: pathlib.Path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=DNS:one,DNS:two,DNS:three", "-keyout", str(folder / "key.pem"),
         "-out", str(folder / "cert.pem")],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


def cidr(address: str, length: int) -> dict:
    return {"address_prefix": address, "prefix_len": length}


LARGE = b"x" * (3 << 20)

NETWORK_CASES = [
    NetworkCase(
        "network: tcp_proxy carries both ways, and each direction ends by itself",
        envoy=chain(tcp_proxy("backend")),
        transom={"network_filters": [{"name": "tcp_proxy", "config": {"cluster": "backend"}}]},
        requests=[says(b"abc", b"def"), says(), says(LARGE)],
        expected=[b"backendABCDEF!", b"backend!", b"backend" + LARGE.upper() + b"!"],
    ),
    NetworkCase(
        "network: tcp_proxy closes when there is no host",
        # Envoy tries a host once where nothing else is said, which comes to the same end.
        envoy=chain(tcp_proxy("gone")),
        transom={"network_filters": [{"name": "tcp_proxy", "config": {"cluster": "gone"}}]},
        requests=[says(b"abc", ends=False), is_closed_in(0, 3)],
        expected=[b"", True],
        gone=("gone",),
    ),
    NetworkCase(
        "network: tcp_proxy closes what is idle",
        envoy=chain(tcp_proxy("backend", idle_timeout="0.5s")),
        transom={"network_filters": [{"name": "tcp_proxy", "config": {"cluster": "backend", "idle_timeout": "500ms"}}]},
        requests=[is_closed_in(0.4, 3)],
        expected=[True],
    ),
    NetworkCase(
        "network: tcp_proxy closes what lasts too long",
        envoy=chain(tcp_proxy("backend", max_downstream_connection_duration="0.5s")),
        transom={"network_filters": [{"name": "tcp_proxy", "config": {"cluster": "backend", "max_duration": "500ms"}}]},
        requests=[is_closed_in(0.4, 3)],
        expected=[True],
    ),
    NetworkCase(
        "network: tcp_proxy shares connections out",
        envoy=chain(envoy_filter("tcp_proxy.v3.TcpProxy", {"stat_prefix": "tcp", "weighted_clusters": {
            "clusters": [{"name": "backend", "weight": 1}, {"name": "other", "weight": 99}]}})),
        transom={"network_filters": [{"name": "tcp_proxy", "config": {"weighted_clusters": [
            {"cluster": "backend", "weight": 1}, {"cluster": "other", "weight": 99}]}}]},
        # Sixty in a row without one of the heavier would be a chance of one in 10^120.
        requests=[lambda port: any(says()(port) == b"other!" for _ in range(60))],
        expected=[True],
        clusters=("backend", "other"),
    ),
    NetworkCase(
        "network: echo",
        envoy=chain(envoy_filter("echo.v3.Echo")),
        transom={"network_filters": [{"name": "echo"}]},
        # Envoy gives up what is not written yet when the client ends its direction; here it still goes out. So each waits.
        requests=[answers(b"abc", b"def"), answers(LARGE[:100_000])],
        expected=[[b"abc", b"def"], [LARGE[:100_000]]],
    ),
    NetworkCase(
        "network: direct_response",
        envoy=chain(envoy_filter("direct_response.v3.Config", {"response": {"inline_string": "moved\n"}})),
        transom={"network_filters": [{"name": "direct_response", "config": {"text": "moved\n"}}]},
        requests=[says(ends=False), says()],
        expected=[b"moved\n", b"moved\n"],
    ),
    NetworkCase(
        "network: ip_access and RBAC",
        envoy=chain(
            envoy_filter("rbac.v3.RBAC", {"stat_prefix": "rbac", "rules": {"action": "ALLOW", "policies": {"some": {
                "permissions": [{"any": True}],
                "principals": [{"direct_remote_ip": cidr("127.0.0.1", 32)}, {"direct_remote_ip": cidr("127.0.1.0", 24)}]}}}}),
            tcp_proxy("backend"),
        ),
        transom={"network_filters": [
            {"name": "ip_access", "config": {"default": "deny", "rules": [
                {"action": "allow", "addresses": ["127.0.0.1", "127.0.1.0/24"]}]}},
            {"name": "tcp_proxy", "config": {"cluster": "backend"}}]},
        # Envoy connects the host before RBAC has seen a byte, so its client hears the host's greeting; here no host is
        # connected for who is denied. What is compared is whether what the client says is answered.
        requests=[
            lambda port, source=source: says(b"abc", source=source)(port).endswith(b"ABC!")
            for source in ("127.0.0.1", "127.0.0.2", "127.0.1.77", "127.0.2.1")
        ],
        expected=[True, False, True, False],
    ),
    NetworkCase(
        "network: sni_cluster",
        envoy=chain(
            envoy_filter("sni_cluster.v3.SniCluster"),
            tcp_proxy("three"),
            transport_socket={"name": "tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [{
                    "certificate_chain": {"filename": "@FOLDER@/cert.pem"},
                    "private_key": {"filename": "@FOLDER@/key.pem"}}]}}},
        ) | {"listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}]},
        transom={
            "tls": {"certificates": [{"certificate": "@FOLDER@/cert.pem", "private_key": "@FOLDER@/key.pem"}]},
            "network_filters": [
                # Envoy passes a client without a name to the cluster of tcp_proxy, and closes one with an unknown name: what
                # `otherwise` says is the same for both here, so the first is not asked.
                {"name": "sni_cluster", "config": {"clusters": ["one", "two"]}},
                {"name": "tcp_proxy", "config": {"cluster": "three"}}],
        },
        requests=[asks_for("one"), asks_for("two"), asks_for("nowhere.test")],
        expected=[b"one", b"two", b""],
        clusters=("one", "two", "three"),
        prepare=certificate,
    ),
    NetworkCase(
        "network: udp_proxy",
        envoy={
            "udp_listener_config": {},
            "listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
                "stat_prefix": "udp",
                "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route",
                    "cluster": "backend"}}}}}}],
        },
        transom={"network_filters": [{"name": "udp_proxy", "config": {"cluster": "backend"}}]},
        # Envoy takes datagrams of up to 1,500 bytes unless told otherwise.
        requests=[sends(b"a", b"b", b"c"), sends(b"x" * 1400), sends(b""), sends(b"d", source="127.0.0.9")],
        expected=[[b"backendA", b"backendB", b"backendC"], [b"backend" + b"X" * 1400], [b"backend"], [b"backendD"]],
        is_udp=True,
    ),
]
