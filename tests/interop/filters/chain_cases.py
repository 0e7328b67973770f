"""Filter chains and listener filters: the same listener in Envoy and in Transom, and which chain each takes for a connection.

A listener is written once, in the terms of Transom's configuration, and translated for Envoy. Each chain hands on to an
upstream that says the chain's name; a row is what a client sends, and the chain that both must take (None: closed).
"""

import ipaddress
import re
import socket
import ssl
import struct
import time
from typing import Callable

from network_cases import PATIENCE, NetworkCase, envoy_filter

NEAR, OTHER = "127.0.0.1", "127.0.0.2"
# So long the filters wait for bytes that do not come.
TIMEOUT = "0.5s"


def hello(name: str | None = None, alpn: tuple[str, ...] = ()) -> bytes:
    """A client's first bytes of TLS, by OpenSSL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    sent = ssl.MemoryBIO()
    handshake = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


def upper(name: str) -> bytes:
    """A hello whose name is in capitals, which OpenSSL would send as it is written too."""
    return hello(name).replace(name.encode(), name.upper().encode())


def v1(source: str, destination: str, source_port: int = 1000, destination_port: int = 443) -> bytes:
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {source_port} {destination_port}\r\n".encode()


def v2(source: str, destination: str, source_port: int = 1000, destination_port: int = 443, command: int = 1) -> bytes:
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    body = addresses + struct.pack("!HH", source_port, destination_port)
    family = 0x21 if ":" in source else 0x11
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


def takes(sent: bytes, source: str = NEAR, port: int = 0, cut: int | None = None) -> Callable:
    """Sends, in two pieces if `cut` says where, and gives back the name of the chain."""

    def connect(to: int) -> str | None:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(PATIENCE)
            connection.bind((source, port))
            connection.connect((NEAR, to))
            try:
                if cut:
                    connection.sendall(sent[:cut])
                    time.sleep(0.05)
                    connection.sendall(sent[cut:])
                else:
                    connection.sendall(sent)
                # The upstream says its name; what was sent comes back behind it, in capitals or as bytes of TLS.
                name = re.match(rb"[a-z]+", connection.recv(4096))
            except ConnectionError:
                return None
            return name[0].decode() if name else None

    return connect


KEYS = {
    "destination_port": "destination_port",
    "destination_networks": "prefix_ranges",
    "server_names": "server_names",
    "transport_protocol": "transport_protocol",
    "application_protocols": "application_protocols",
    "direct_source_networks": "direct_source_prefix_ranges",
    "source_type": "source_type",
    "source_networks": "source_prefix_ranges",
    "source_ports": "source_ports",
}
WORDS = {"raw": "raw_buffer", "local": "SAME_IP_OR_LOOPBACK", "external": "EXTERNAL"}


def envoy_match(match: dict) -> dict:
    def value(key, written):
        if key.endswith("_networks"):
            nets = [ipaddress.ip_network(it) for it in written]
            return [{"address_prefix": str(net.network_address), "prefix_len": net.prefixlen} for net in nets]
        return WORDS.get(written, written) if isinstance(written, str) else written

    return {KEYS[key]: value(key, written) for key, written in match.items()}


def envoy_listener_filter(name: str, config: dict) -> dict:
    kind = {"tls_inspector": "TlsInspector", "http_inspector": "HttpInspector", "proxy_protocol": "ProxyProtocol"}[name]
    url = f"type.googleapis.com/envoy.extensions.filters.listener.{name}.v3.{kind}"
    # Envoy believes everybody; so does the Transom of these cases.
    own = {"allow_requests_without_proxy_protocol": True} if config.get("required") is False else {}
    return {"name": f"envoy.filters.listener.{name}", "typed_config": {"@type": url, **own}}


def case(name: str, chains: dict[str, dict], rows: list[tuple], filters: tuple = ("tls_inspector",), default: bool = True,
         on_timeout: str = "close") -> NetworkCase:
    """`chains`: name to match. `default`: there is a chain of this name for what none of them is for."""

    def parted(filter):
        return filter if isinstance(filter, tuple) else (filter, {})

    def envoy_chain(chain, match):
        proxy = envoy_filter("tcp_proxy.v3.TcpProxy", {"stat_prefix": "tcp", "cluster": chain})
        return {"name": chain, "filters": [proxy], **({"filter_chain_match": envoy_match(match)} if match else {})}

    def transom_chain(chain):
        return [{"name": "tcp_proxy", "config": {"cluster": chain}}]

    transom = {
        "listener_filters": [
            {"name": filter, "config": {"trusted": ["0.0.0.0/0"], **config} if filter == "proxy_protocol" else config}
            for filter, config in map(parted, filters)
        ],
        "listener_filters_timeout": TIMEOUT.replace("0.5s", "500ms"),
        "on_listener_filters_timeout": on_timeout,
        "filter_chains": [
            {"name": chain, "match": match, "network_filters": transom_chain(chain)} for chain, match in chains.items()
        ],
    }
    envoy = {
        "listener_filters": [envoy_listener_filter(*parted(filter)) for filter in filters],
        "listener_filters_timeout": TIMEOUT,
        "continue_on_listener_filters_timeout": on_timeout == "continue",
        "filter_chains": [envoy_chain(chain, match) for chain, match in chains.items()],
    }
    if default:
        transom["network_filters"] = transom_chain("default")
        envoy["default_filter_chain"] = envoy_chain("default", None)
    return NetworkCase(
        name=f"chains: {name}",
        envoy=envoy,
        transom=transom,
        requests=[takes(*row[0]) if isinstance(row[0], tuple) else takes(row[0]) for row in rows],
        expected=[row[1] for row in rows],
        clusters=(*chains, *(("default",) if default else ())),
    )


GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PROXY = "proxy_protocol"

CHAIN_CASES = [
    case(
        "a name itself, then the longest wildcard, then none",
        {
            "exact": {"server_names": ["a.b.test"]},
            "long": {"server_names": ["*.b.test"]},
            "short": {"server_names": ["*.test", "other.example"]},
            "none": {},
        },
        [
            (hello("a.b.test"), "exact"),
            (upper("a.b.test"), "exact"),
            (hello("c.b.test"), "long"),
            (hello("d.c.b.test"), "long"),
            (hello("b.test"), "short"),
            (hello("x.y.test"), "short"),
            (hello("other.example"), "short"),
            (hello("x.other.example"), "none"),
            (hello("test"), "none"),
            (hello(), "none"),
            (GET, "none"),
            ((hello("c.b.test"), NEAR, 0, 3), "long"),
            ((hello("c.b.test"), NEAR, 0, 100), "long"),
        ],
        default=False,
    ),
    case(
        "what no chain is for goes to the default chain",
        {"named": {"server_names": ["a.test"]}},
        [(hello("a.test"), "named"), (hello("b.test"), "default"), (hello(), "default"), (GET, "default")],
    ),
    case(
        "what no chain is for is closed without one",
        {"named": {"server_names": ["a.test"]}},
        [(hello("a.test"), "named"), (hello("b.test"), None), (hello(), None), (GET, None)],
        default=False,
    ),
    case(
        "the protocol that the client wants most",
        {
            "two": {"application_protocols": ["h2"]},
            "one": {"application_protocols": ["http/1.1", "http/1.0"]},
            "odd": {"application_protocols": ["odd"]},
            "none": {},
        },
        [
            (hello("a.test", ("h2",)), "two"),
            (hello("a.test", ("http/1.1",)), "one"),
            (hello("a.test", ("h2", "http/1.1")), "two"),
            (hello("a.test", ("http/1.1", "h2")), "one"),
            (hello("a.test", ("unknown", "odd", "h2")), "odd"),
            (hello("a.test", ("unknown",)), "none"),
            (hello("a.test"), "none"),
            (GET, "none"),
        ],
        default=False,
    ),
    case(
        "a name goes before a protocol, and nothing is taken back",
        {
            "namedtwo": {"server_names": ["a.test"], "application_protocols": ["h2"]},
            "wildone": {"server_names": ["*.test"], "application_protocols": ["http/1.1"]},
            "wild": {"server_names": ["*.b.test"]},
            "one": {"application_protocols": ["http/1.1"]},
        },
        [
            (hello("a.test", ("h2",)), "namedtwo"),
            # The chain of the name has not this protocol; those that have it are of other names.
            (hello("a.test", ("http/1.1",)), "default"),
            (hello("a.test"), "default"),
            (hello("c.test", ("h2", "http/1.1")), "wildone"),
            (hello("c.test", ("h2",)), "default"),
            (hello("c.b.test", ("http/1.1",)), "wild"),
            (hello("example.org", ("http/1.1",)), "one"),
        ],
    ),
    case(
        "TLS and what is none",
        {
            "secure": {"transport_protocol": "tls"},
            "plain": {"transport_protocol": "raw"},
            "named": {"server_names": ["a.test"]},
        },
        [
            (hello("a.test"), "named"),
            (hello("b.test"), "secure"),
            (hello(), "secure"),
            (GET, "plain"),
            (b"SSH-2.0-x\r\n", "plain"),
            (b"\x16\x03\x01\0\x05hello", "plain"),
            # An alert that warns is left out: Envoy waits for what comes behind it, until its time is over.
            (b"\x15\x03\x01\0\x02\x02\x28", "plain"),
        ],
        default=False,
    ),
    case(
        "the longest network of the source",
        {
            "host": {"source_networks": ["127.0.0.2/32"]},
            "part": {"source_networks": ["127.0.0.0/30"]},
            "whole": {"source_networks": ["127.0.0.0/8", "10.0.0.0/8"]},
        },
        [
            ((GET, "127.0.0.2"), "host"),
            ((GET, "127.0.0.3"), "part"),
            ((GET, "127.0.0.1"), "part"),
            ((GET, "127.0.0.4"), "whole"),
            ((GET, "127.200.0.1"), "whole"),
        ],
        filters=(),
    ),
    case(
        "source, type and direct source",
        {
            "local": {"source_type": "local"},
            "external": {"source_type": "external"},
            "direct": {"direct_source_networks": ["127.0.0.2/32"], "source_type": "external"},
            "far": {"source_type": "external", "source_networks": ["192.0.2.0/24"]},
        },
        [
            # All of 127.0.0.0/8 is local here (RFC 1122 section 3.2.1.3), and only 127.0.0.1 in Envoy: no row of it.
            (GET, "local"),
            (v1("192.0.3.1", "192.0.2.9") + GET, "external"),
            (v1("192.0.2.1", "198.51.100.1") + GET, "far"),
            ((v1("192.0.2.1", "198.51.100.1") + GET, OTHER), "direct"),
            # The same address on both sides is local, wherever it is.
            (v1("192.0.2.1", "192.0.2.1") + GET, "local"),
            (v2("192.0.2.1", "192.0.2.1") + GET, "local"),
            ((v1("192.0.2.1", "192.0.2.1") + GET, OTHER), "default"),
        ],
        filters=((PROXY, {"required": False}),),
    ),
    case(
        "port before network before name, and nothing is taken back",
        {
            "port": {"destination_port": 8443, "server_names": ["a.test"]},
            "net": {"destination_networks": ["192.0.2.0/24"], "server_names": ["b.test"]},
            "host": {"destination_networks": ["192.0.2.7/32"]},
            "name": {"server_names": ["a.test", "b.test"]},
        },
        [
            (v1("10.0.0.1", "192.0.2.7", 1000, 8443) + hello("a.test"), "port"),
            (v1("10.0.0.1", "192.0.2.7", 1000, 8443) + hello("b.test"), "default"),
            (v1("10.0.0.1", "192.0.2.9") + hello("b.test"), "net"),
            (v1("10.0.0.1", "192.0.2.9") + hello("a.test"), "default"),
            (v1("10.0.0.1", "192.0.2.7") + hello("b.test"), "host"),
            (v2("10.0.0.1", "198.51.100.1") + hello("b.test"), "name"),
            (v2("10.0.0.1", "198.51.100.1") + hello("c.test"), "default"),
            (v1("2001:db8::1", "2001:db8::2", 1000, 8443) + hello("a.test"), "port"),
            (v2("2001:db8::1", "2001:db8::2") + hello("a.test"), "name"),
        ],
        filters=(PROXY, "tls_inspector"),
    ),
    case(
        "networks of IPv6, and ports of the source",
        {
            "six": {"source_networks": ["2001:db8::/32"]},
            "sixhost": {"source_networks": ["2001:db8::7/128"]},
            "sourceport": {"source_ports": [4000, 4001]},
            "four": {"source_networks": ["192.0.2.0/24"], "source_ports": [4001]},
        },
        [
            (v2("2001:db8::1", "::1") + GET, "six"),
            (v1("2001:db8::7", "::1") + GET, "sixhost"),
            (v1("2001:db9::7", "::1") + GET, "default"),
            (v1("10.0.0.1", "10.0.0.2", 4000) + GET, "sourceport"),
            (v2("10.0.0.1", "10.0.0.2", 4002) + GET, "default"),
            (v2("192.0.2.1", "10.0.0.2", 4001) + GET, "four"),
            (v2("192.0.2.1", "10.0.0.2", 4000) + GET, "default"),
        ],
        filters=(PROXY,),
    ),
    case(
        "headers of the PROXY protocol",
        {"far": {"source_networks": ["192.0.2.0/24"]}, "near": {"source_networks": ["127.0.0.0/8"]}},
        [
            (v1("192.0.2.1", "10.0.0.1") + GET, "far"),
            (v2("192.0.2.1", "10.0.0.1") + GET, "far"),
            ((v1("192.0.2.1", "10.0.0.1") + GET, NEAR, 0, 9), "far"),
            ((v2("192.0.2.1", "10.0.0.1") + GET, NEAR, 0, 13), "far"),
            (b"PROXY UNKNOWN\r\n" + GET, "near"),
            (b"PROXY UNKNOWN 192.0.2.1 10.0.0.1 1 2\r\n" + GET, "near"),
            # A proxy's own connection.
            (v2("192.0.2.1", "10.0.0.1", command=0) + GET, "near"),
            (GET, None),
            (hello("a.test"), None),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 1000\r\n" + GET, None),
            (b"PROXY TCP4 192.0.2.256 10.0.0.1 1000 443\r\n" + GET, None),
            (b"PROXY TCP4 2001:db8::1 10.0.0.1 1000 443\r\n" + GET, None),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 1000 65536\r\n" + GET, None),
            (b"PROXY TCP5 192.0.2.1 10.0.0.1 1000 443\r\n" + GET, None),
            (b"PROXY TCP4 " + b"1" * 120 + b"\r\n" + GET, None),
            # Version 2 with a version that is none, a command that is none, and less than its family has.
            (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c" + bytes(12) + GET, None),
            (b"\r\n\r\n\0\r\nQUIT\n\x2f\x11\0\x0c" + bytes(12) + GET, None),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04" + bytes(4) + GET, None),
            # It is waited for, not for ever.
            (b"PROXY TCP4 192.0.2.1", None),
        ],
        filters=(PROXY,),
    ),
    case(
        "clients without a header where none is required",
        {"far": {"source_networks": ["192.0.2.0/24"]}, "named": {"server_names": ["a.test"]}},
        [
            (v2("192.0.2.1", "10.0.0.1") + hello("b.test"), "far"),
            (v2("192.0.2.1", "10.0.0.1") + hello("a.test"), "named"),
            (hello("a.test"), "named"),
            (GET, "default"),
            (b"PROXIMITY\r\n", "default"),
        ],
        filters=((PROXY, {"required": False}), "tls_inspector"),
    ),
    case(
        "HTTP by its first line",
        {
            "ten": {"application_protocols": ["http/1.0"]},
            "eleven": {"application_protocols": ["http/1.1"]},
            "two": {"application_protocols": ["h2c"]},
            "none": {},
        },
        [
            (GET, "eleven"),
            (b"GET / HTTP/1.0\r\n\r\n", "ten"),
            (b"OPTIONS * HTTP/1.1\r\n\r\n", "eleven"),
            (b"POST /a%20b?c HTTP/1.1\r\n\r\n", "eleven"),
            ((GET, NEAR, 0, 2), "eleven"),
            ((GET, NEAR, 0, 11), "eleven"),
            (PREFACE, "two"),
            ((PREFACE, NEAR, 0, 10), "two"),
            (b"SSH-2.0-OpenSSH\r\n", "none"),
            (b"\0\1\2\3\r\n", "none"),
        ],
        filters=("http_inspector",),
        default=False,
    ),
    case(
        "one port for TLS, HTTP and neither",
        {
            "secure": {"transport_protocol": "tls"},
            "securetwo": {"transport_protocol": "tls", "application_protocols": ["h2"]},
            "plain": {"transport_protocol": "raw", "application_protocols": ["http/1.1", "http/1.0"]},
            "named": {"server_names": ["a.test"]},
        },
        [
            (hello("b.test"), "secure"),
            (hello("b.test", ("h2",)), "securetwo"),
            (hello("b.test", ("http/1.1",)), "secure"),
            (hello("a.test", ("h2",)), "named"),
            (GET, "plain"),
            (b"SSH-2.0-OpenSSH\r\n", "default"),
            (PREFACE, "default"),
        ],
        filters=("tls_inspector", "http_inspector"),
    ),
    case(
        "half a hello, in time or not",
        {"named": {"server_names": ["a.test"]}},
        [(hello("a.test")[:50], None), (hello("a.test"), "named")],
    ),
    case(
        "half a hello goes on when it may",
        {"named": {"server_names": ["a.test"]}},
        [(hello("a.test")[:50], "default"), (hello("a.test"), "named")],
        on_timeout="continue",
    ),
]
