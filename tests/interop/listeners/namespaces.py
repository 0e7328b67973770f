"""Connections that the kernel brings to the proxy: a client, a router on which the proxy runs, and a server, each in a network of its own.

    client 10.9.0.2 ─── 10.9.0.1 router 10.7.0.1 ─── 10.7.0.2 server
           fd09::2 ─── fd09::1         fd07::1 ─── fd07::2

The router is the suite's own network namespace. It is the client's way to the server, and what the client sends to port 80 of wherever it wants goes to
the proxy. The server says from where and to where each connection came.
"""

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

from listeners import ANSWER, Proxy, suite
from processes import TRANSOM
from suite import Skip, equal, needs, until

FAMILIES = {
    "ip": {"client": "10.9.0.2", "near": "10.9.0.1", "far": "10.7.0.1", "server": "10.7.0.2", "elsewhere": "198.51.100.7", "network": "10.7.0.0/24", "bits": "24", "any": "0.0.0.0"},
    "ip6": {"client": "fd09::2", "near": "fd09::1", "far": "fd07::1", "server": "fd07::2", "elsewhere": "2001:db8::7", "network": "fd07::/64", "bits": "64", "any": "::"},
}

SERVER = """
import socket, sys, threading
def serve(connection):
    with connection:
        connection.recv(4096)
        body = "%s %s" % (connection.getpeername()[0], connection.getsockname()[0])
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body.encode()))
for host, family in ((sys.argv[1], socket.AF_INET), (sys.argv[2], socket.AF_INET6)):
    listener = socket.create_server((host, 80), family=family)
    def accept(listener=listener):
        while True:
            threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
    threading.Thread(target=accept).start()
print("ready", flush=True)
"""


def run(*command: str, inside: int | None = None):
    if inside is not None:
        command = ("nsenter", "--target", str(inside), "--net", *command)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


@contextmanager
def namespace():
    """A network namespace, by the id of a process in it."""
    child = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
    try:
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{child.pid}/ns/net") != own, "a network namespace")
        yield child.pid
    finally:
        child.kill()
        child.wait()


class Network:
    """The three networks, and rules of netfilter on the router."""

    def __init__(self, scene):
        for tool in ("ip", "nft", "nsenter", "unshare"):
            needs(tool)
        self.require_right()
        self.client = scene.stack.enter_context(namespace())
        self.server = scene.stack.enter_context(namespace())
        scene.stack.callback(self.forget)
        for name, pid, end, gateway in (("near", self.client, "client", "near"), ("far", self.server, "server", "far")):
            run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
            run("ip", "link", "set", name, "up")
            run("ip", "link", "set", "lo", "up", inside=pid)
            run("ip", "link", "set", "eth0", "up", inside=pid)
            for family in FAMILIES.values():
                # Without the check for duplicates, which takes a second.
                nodad = ["nodad"] if ":" in family["client"] else []
                run("ip", "address", "add", f"{family[gateway]}/{family['bits']}", "dev", name, *nodad)
                run("ip", "address", "add", f"{family[end]}/{family['bits']}", "dev", "eth0", *nodad, inside=pid)
                run("ip", "route", "add", "default", "via", family[gateway], inside=pid)
        listening = subprocess.Popen(
            ["nsenter", "--target", str(self.server), "--net", sys.executable, "-c", SERVER, FAMILIES["ip"]["server"], FAMILIES["ip6"]["server"]],
            stdout=subprocess.PIPE,
        )
        scene.stack.callback(lambda: (listening.kill(), listening.wait()))
        equal(listening.stdout.readline(), b"ready\n", "the server")

    @staticmethod
    def require_right():
        """Whether this is a network of the suite's own, in which rules can be made."""
        if not suite.has_own_network:
            raise Skip("network namespaces cannot be made here")
        probe = subprocess.run(["nft", "add table inet probe; delete table inet probe"], capture_output=True, text=True)
        if probe.returncode != 0:
            raise Skip(f"netfilter takes no rules here: {probe.stderr.strip()}")

    def rules(self, text: str):
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)

    def forget(self):
        subprocess.run(["nft", "flush", "ruleset"], check=False)
        for name in ("near", "far"):
            subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)
        for family in ("-4", "-6"):
            subprocess.run(["ip", family, "rule", "delete", "fwmark", "1"], check=False, capture_output=True)
            subprocess.run(["ip", family, "route", "flush", "table", "100"], check=False, capture_output=True)

    def get(self, address: str) -> str:
        """What the client gets at port 80 there."""
        host = f"[{address}]" if ":" in address else address
        return run("curl", "--silent", "--show-error", "--max-time", "10", f"http://{host}/", inside=self.client)


def configuration(transparent: bool) -> str:
    """On each family: what is for the server's network goes there by tcp_proxy, the rest is answered here."""
    listeners, clusters = "", ""
    for name, family in FAMILIES.items():
        host = f"[{family['any']}]" if ":" in family["any"] else family["any"]
        listeners += f"""\
  - name: {name}
    address: '{host}:15001'
    transparent: {str(transparent).lower()}
    listener_filters: [{{name: original_dst}}]
    filter_chains:
      - match: {{destination_networks: ['{family["network"]}']}}
        network_filters: [{{name: tcp_proxy, config: {{cluster: there}}}}]
    network_filters: {ANSWER % "'the proxy'"}
  - name: {name}-virtual
    address: '{f"[{family['elsewhere']}]" if ":" in family["elsewhere"] else family["elsewhere"]}:81'
    transparent: true
    network_filters: {ANSWER % "'another listener'"}
"""
    clusters = "clusters: [{name: there, original_dst: {networks: [10.7.0.0/24, 'fd07::/64']}}]\n"
    return "listeners:\n" + listeners + clusters


def check(scene, network: Network, transparent: bool):
    proxy = scene.start(Proxy(scene.folder, configuration(transparent)))
    for name, family in FAMILIES.items():
        # It goes where the client wanted to, from the router's own address.
        equal(network.get(family["server"]), f"{family['far']} {family['server']}", name)
        # Nobody is there, but the client is served.
        equal(network.get(family["elsewhere"]), "the proxy", name)
        # A listener that has the very address serves it.
        host = f"[{family['elsewhere']}]" if ":" in family["elsewhere"] else family["elsewhere"]
        equal(run("curl", "--silent", "--max-time", "10", f"http://{host}:81/", inside=network.client), "another listener", name)
        found = proxy.metric("transom_original_dst_found_total")
        assert found >= 3, found
        # Who comes to the proxy by itself is served, and the proxy does not call itself.
        gate = f"[{family['near']}]" if ":" in family["near"] else family["near"]
        equal(run("curl", "--silent", "--max-time", "10", f"http://{gate}:15001/", inside=network.client), "the proxy", name)
    equal(proxy.metric("transom_original_dst_not_found_total"), 2)
    # Through a reload.
    proxy.write(configuration(transparent).replace("the proxy", "again"))
    proxy.signal(signal.SIGHUP)
    until(lambda: network.get(FAMILIES["ip"]["elsewhere"]) == "again", "the reload")
    equal(network.get(FAMILIES["ip6"]["server"]), f"{FAMILIES['ip6']['far']} {FAMILIES['ip6']['server']}", "after the reload")


@suite.case
def redirected_connections_go_where_their_clients_wanted(scene):
    network = Network(scene)
    network.rules("""
        table inet to_proxy {
            chain prerouting {
                type nat hook prerouting priority dstnat
                iifname "near" tcp dport { 80, 81 } redirect to :15001
            }
        }
    """)
    check(scene, network, False)


@suite.case
def connections_by_tproxy_go_where_their_clients_wanted(scene):
    network = Network(scene)
    # Documentation/networking/tproxy.rst of the kernel: what is marked is for this machine, whatever its address.
    for family in ("-4", "-6"):
        run("ip", family, "rule", "add", "fwmark", "1", "lookup", "100")
        run("ip", family, "route", "add", "local", "default", "dev", "lo", "table", "100")
    network.rules("""
        table inet to_proxy {
            chain prerouting {
                type filter hook prerouting priority mangle
                iifname "near" tcp dport { 80, 81 } meta nfproto ipv4 tproxy ip to :15001 meta mark set 1 accept
                iifname "near" tcp dport { 80, 81 } meta nfproto ipv6 tproxy ip6 to :15001 meta mark set 1 accept
            }
        }
    """)
    check(scene, network, True)


@suite.case
def a_transparent_listener_without_the_right_to_it_says_what_is_missing(scene):
    Network.require_right()
    libc = ctypes.CDLL(None, use_errno=True)
    drop_from_bounding_set = 24  # PR_CAPBSET_DROP (prctl.h)

    def without_right():
        for capability in (12, 13):  # CAP_NET_ADMIN and CAP_NET_RAW (capability.h): either is enough.
            libc.prctl(drop_from_bounding_set, capability, 0, 0, 0)

    file = scene.folder / "transparent.yaml"
    file.write_text("listeners: [{name: in, address: '127.0.0.1:0', transparent: true, network_filters: [{name: echo}]}]\n")
    done = subprocess.run([TRANSOM, "run", "-c", str(file)], capture_output=True, text=True, timeout=20, preexec_fn=without_right)
    assert done.returncode in (1, 2) and "CAP_NET_ADMIN" in done.stderr, (done.returncode, done.stderr)
