"""The cases: one or more for each filter."""

import base64
import gzip
import json
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Callable


class Skip(Exception):
    """A case that cannot run here, and why."""


@dataclass
class Case:
    name: str
    # (name, kind below `envoy.extensions.filters.`, configuration)
    envoy: list
    # (name, configuration)
    transom: list
    requests: list[dict]
    # Headers of the answer, and of the request at the upstream, that must be the same.
    answer: tuple = ()
    upstream: tuple = ()
    envoy_route: dict = field(default_factory=dict)
    transom_route: dict = field(default_factory=dict)
    envoy_manager: dict = field(default_factory=dict)
    transom_manager: dict = field(default_factory=dict)
    clusters: tuple = ()
    # How many copies of each request come to the other clusters.
    copies: int = 0
    # What both must have come to, lest they agree on nothing.
    statuses: list | None = None
    expect: Callable | None = None
    # Whether an answer's body is compared (those that the proxies make themselves are not).
    body: Callable = lambda answer: answer["body"] if answer["status"] == 200 else None
    # Whether what reached the upstream of a refused request is compared.
    refused_upstream: bool = True

    def begin(self, folder):
        """Before the proxies start."""

    def observe(self, proxy, upstreams) -> list[dict]:
        return [self.one(proxy, upstreams, request) for request in self.requests]

    def one(self, proxy, upstreams, request) -> dict:
        for upstream in upstreams.values():
            upstream.take()
        answer = proxy.ask(request)
        copies = {name: sorted(map(self.at_upstream, upstreams[name].wait(self.copies)), key=str) for name in self.clusters}
        reached = [self.at_upstream(seen) for seen in upstreams["backend"].take()]
        if answer["status"] >= 400 and not self.refused_upstream:
            reached = None
        return {
            "status": answer["status"],
            "headers": {name: in_one_spelling(name, answer["headers"].get(name)) for name in self.answer},
            "body": self.body(answer),
            "upstream": reached,
            "copies": copies,
        }

    def at_upstream(self, seen: dict) -> dict:
        headers = [(name, value) for name, value in seen["headers"] if name in self.upstream]
        return {"method": seen["method"], "path": seen["path"], "headers": sorted(headers), "body": seen["body"]}

    def check(self, seen: list[dict]):
        if self.statuses is not None:
            got = [one["status"] for one in seen]
            assert got == self.statuses, f"{got} is not {self.statuses}"
        if self.expect is not None:
            self.expect(seen)


def in_one_spelling(name: str, value: str | None) -> str | None:
    """Names of headers have no case and no order in `vary`."""
    if name == "vary" and value is not None:
        return ", ".join(sorted(member.strip().lower() for member in value.split(",")))
    return value


def reply(**what) -> dict:
    """The header by which a request says what the upstream is to answer."""
    return {"x-reply": json.dumps(what)}


def basic(text: str) -> dict:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def sizes(limit: int) -> list[dict]:
    """Bodies around a limit, with their length and without."""
    return [
        {"method": "POST", "body": b"x" * limit},
        {"method": "POST", "body": b"x" * (limit + 1)},
        {"method": "POST", "chunks": [b"x" * (limit - 1), b"y"]},
        {"method": "POST", "chunks": [b"x" * limit, b"y"]},
        {"method": "POST", "body": b""},
        {"method": "GET"},
    ]


def payload_limit():
    return Case(
        "payload_limit and the limit of Envoy's buffer",
        envoy=[("buffer", "http.buffer.v3.Buffer", {"max_request_bytes": 1000})],
        transom=[("payload_limit", {"max_bytes": 1000})],
        requests=sizes(1000),
        # It lets a chunked body go by while it counts; Envoy's filter keeps it back.
        refused_upstream=False,
        statuses=[200, 413, 200, 413, 200, 200],
    )


def buffer():
    def expect(seen):
        chunked = dict(seen[2]["upstream"][0]["headers"])
        assert chunked == {"content-length": "1000"}, chunked

    return Case(
        "buffer",
        envoy=[("buffer", "http.buffer.v3.Buffer", {"max_request_bytes": 1000})],
        transom=[("buffer", {"max_bytes": 1000})],
        requests=sizes(1000),
        upstream=("content-length", "transfer-encoding"),
        statuses=[200, 413, 200, 413, 200, 200],
        expect=expect,
    )


def ip_access():
    def cidr(address, length):
        return {"address_prefix": address, "prefix_len": length}

    def policy(*addresses):
        return {
            "permissions": [{"any": True}],
            "principals": [{"remote_ip": cidr(address, length)} for address, length in addresses],
        }

    sources = ["127.0.0.1", "127.0.1.1", "127.0.1.255", "127.0.2.1", "127.1.0.1"]
    forwarded = ["10.1.2.3", "192.0.2.1, 10.1.2.3", "10.1.2.3, 192.0.2.1", "2001:db8::1", "2001:db9::1"]
    direct = Case(
        "ip_access and RBAC by the connection's address",
        envoy=[("rbac", "http.rbac.v3.RBAC", {"rules": {"action": "ALLOW", "policies": {
            "some": policy(("127.0.0.1", 32), ("127.0.1.0", 24))}}})],
        transom=[("ip_access", {"default": "deny", "rules": [
            {"action": "allow", "addresses": ["127.0.0.1", "127.0.1.0/24"]}]})],
        requests=[{"source": source} for source in sources],
        envoy_manager={"use_remote_address": True},
        statuses=[200, 200, 200, 403, 403],
    )
    header = Case(
        "ip_access and RBAC by x-forwarded-for",
        envoy=[("rbac", "http.rbac.v3.RBAC", {"rules": {"action": "DENY", "policies": {
            "some": policy(("10.0.0.0", 8), ("2001:db8::", 32))}}})],
        transom=[("ip_access", {"default": "allow", "rules": [
            {"action": "deny", "addresses": ["10.0.0.0/8", "2001:db8::/32"]}]})],
        # Envoy's default: whoever connects is believed.
        transom_manager={"forwarded": {"mode": "keep", "trusted_hops": 1}},
        requests=[{"headers": {"X-Forwarded-For": value}} for value in forwarded] + [{}],
        statuses=[403, 403, 200, 403, 200, 200],
    )
    return [direct, header]


def cors():
    preflight = {"Access-Control-Request-Method": "PUT"}
    requests = [
        {"method": method, "headers": {**({"Origin": origin} if origin else {}), **more}}
        for method, origin, more in [
            ("OPTIONS", "https://a.test", preflight),
            ("OPTIONS", "https://x.b.test", preflight),
            ("OPTIONS", "https://evil.test", preflight),
            ("OPTIONS", "https://b.test", preflight),
            ("OPTIONS", "https://a.test", {}),
            ("OPTIONS", None, preflight),
            ("GET", "https://a.test", {}),
            ("GET", "https://x.b.test", reply(headers={"access-control-allow-origin": "*"})),
            ("GET", "https://evil.test", {}),
            ("GET", None, {}),
            ("GET", "https://a.test", reply(status=500)),
        ]
    ]

    def expect(seen):
        assert seen[0]["upstream"] == [] and seen[2]["upstream"], "the first is answered here, the third is not"

    return Case(
        "cors",
        envoy=[("envoy.filters.http.cors", "http.cors.v3.Cors", {})],
        envoy_route={"typed_per_filter_config": {"envoy.filters.http.cors": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
            "allow_origin_string_match": [
                {"exact": "https://a.test"},
                {"safe_regex": {"regex": r"https://[a-z.]+\.b\.test"}},
            ],
            "allow_methods": "GET, PUT",
            "allow_headers": "content-type, x-a",
            "expose_headers": "x-b",
            "allow_credentials": True,
            "max_age": "60",
        }}},
        transom=[("cors", {
            "allow_origins": ["https://a.test", "https://*.b.test"],
            "allow_methods": ["GET", "PUT"],
            "allow_headers": ["content-type", "x-a"],
            "expose_headers": ["x-b"],
            "allow_credentials": True,
            "max_age": "60s",
        })],
        requests=requests,
        # Transom adds `vary: origin`, which Envoy leaves to the upstream.
        answer=tuple(f"access-control-{name}" for name in (
            "allow-origin", "allow-credentials", "allow-methods", "allow-headers", "expose-headers", "max-age")),
        statuses=[200] * 10 + [500],
        expect=expect,
    )


def basic_auth():
    users = "ada:{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\neve:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n"
    return Case(
        "basic_auth",
        envoy=[("basic_auth", "http.basic_auth.v3.BasicAuth", {
            "users": {"inline_string": users}, "forward_username_header": "x-user"})],
        transom=[("basic_auth", {"users": users, "forward_username": "x-user"})],
        requests=[
            {"headers": headers}
            for headers in [
                basic("ada:abc"),
                {**basic("ada:abc"), "X-User": "root"},
                basic("ada:abd"),
                basic("bob:abc"),
                basic("ada"),
                {"Authorization": "Basic ???"},
                {"Authorization": "Bearer abc"},
                {},
            ]
        ],
        upstream=("x-user",),
        statuses=[200, 200, 401, 401, 401, 401, 401, 401],
    )


def rate_limit():
    bucket = {"max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "3600s"}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return Case(
        "rate_limit and local_ratelimit, over two workers",
        envoy=[("local_ratelimit", "http.local_ratelimit.v3.LocalRateLimit", {
            "stat_prefix": "limit", "token_bucket": bucket, "filter_enabled": always, "filter_enforced": always,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03"})],
        transom=[("rate_limit", {"requests": 5, "per": "1h", "headers": True})],
        # Each on a connection of its own, which goes to either worker.
        requests=[{"path": f"/{number}"} for number in range(12)],
        # `-reset` differs: Envoy tells the time to the next token, Transom to a full bucket.
        answer=("x-ratelimit-limit", "x-ratelimit-remaining"),
        statuses=[200] * 5 + [429] * 7,
    )


def health_check():
    path = [{"name": ":path", "string_match": {"exact": "/healthz"}}]
    requests = [{"path": "/healthz"}, {"path": "/other"}, {"path": "/healthz", "method": "HEAD"}]

    def answers(seen):
        assert [len(one["upstream"]) for one in seen] == [0, 1, 0]

    def keeps(seen):
        assert [len(one["upstream"]) for one in seen] == [1, 0, 1]

    def envoy(**more):
        return [("health_check", "http.health_check.v3.HealthCheck", {"headers": path, **more})]

    return [
        Case(
            "health_check that answers",
            envoy=envoy(pass_through_mode=False),
            transom=[("health_check", {"path": "/healthz"})],
            requests=requests,
            statuses=[200, 200, 200],
            expect=answers,
        ),
        Case(
            "health_check that passes through",
            envoy=envoy(pass_through_mode=True),
            transom=[("health_check", {"path": "/healthz", "mode": "pass_through"})],
            requests=[{"path": "/healthz", "headers": reply(status=status)} for status in (200, 503, 200)],
            statuses=[200, 503, 200],
        ),
        Case(
            "health_check that keeps the upstream's status",
            envoy=envoy(pass_through_mode=True, cache_time="3600s"),
            transom=[("health_check", {"path": "/healthz", "mode": "pass_through", "cache": "1h"})],
            requests=[
                {"path": "/healthz", "headers": reply(status=503)},
                {"path": "/healthz", "headers": reply(status=200)},
                {"path": "/other"},
            ],
            statuses=[503, 503, 200],
            expect=keeps,
        ),
    ]


def header_to_metadata():
    """What is seen of it from outside: which headers go. The values are compared with its documentation by unit tests."""

    def envoy(header, present, missing, remove):
        rule = {"header": header, "remove": remove}
        if present:
            rule["on_header_present"] = {"metadata_namespace": "lb", "key": present, "type": "STRING"}
        if missing:
            rule["on_header_missing"] = {"metadata_namespace": "lb", "key": missing, "value": "none"}
        return rule

    def transom(header, present, missing, remove):
        rule = {"header": header, "remove": remove}
        if present:
            rule["on_present"] = {"namespace": "lb", "key": present}
        if missing:
            rule["on_missing"] = {"namespace": "lb", "key": missing, "value": "none"}
        return rule

    request = [("x-version", "version", "version", True), ("x-kept", "kept", None, False), ("x-none", None, "no", True)]
    response = [("x-cost", "cost", None, True)]
    return Case(
        "header_to_metadata",
        envoy=[("header_to_metadata", "http.header_to_metadata.v3.Config", {
            "request_rules": [envoy(*rule) for rule in request],
            "response_rules": [envoy(*rule) for rule in response]})],
        transom=[("header_to_metadata", {
            "request_rules": [transom(*rule) for rule in request],
            "response_rules": [transom(*rule) for rule in response]})],
        requests=[
            {"headers": {"X-Version": "1", "X-Kept": "2", "X-None": "3"}},
            {"headers": {"X-VERSION": "", "X-Other": "4"}},
            {"headers": reply(headers={"X-Cost": "5", "X-Else": "6"})},
            {},
        ],
        answer=("x-cost", "x-else"),
        upstream=("x-version", "x-kept", "x-none", "x-other"),
        statuses=[200] * 4,
    )


def decoded(answer: dict):
    """The body as it was before it was compressed."""
    coding = answer["headers"].get("content-encoding")
    body = answer["body"]
    if coding == "gzip":
        return gzip.decompress(body)
    commands = {"br": ["brotli", "-d", "-c"], "zstd": ["zstd", "-d", "-c", "-q"]}
    if coding in commands and body:
        command = commands[coding]
        if shutil.which(command[0]) is None:
            raise Skip(f"{command[0]} is not installed; .ci/tools installs it")
        done = subprocess.run(command, input=body, capture_output=True)
        # The upstream of a case says of plain text that it is compressed.
        return done.stdout if done.returncode == 0 else body
    return body


PAGE = "all work and no play " * 100


def compressor():
    def library(name, url):
        return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.compression.{url}"}}

    gzip_library = library("gzip", "gzip.compressor.v3.Gzip")
    brotli_library = library("brotli", "brotli.compressor.v3.Brotli")
    zstd_library = library("zstd", "zstd.compressor.v3.Zstd")

    def envoy(name, compressor_library, first=False):
        direction = {"common_config": {"min_content_length": 256}}
        config = {"compressor_library": compressor_library, "response_direction_config": direction, "choose_first": first}
        return (name, "http.compressor.v3.Compressor", config)

    def page(headers=None, body=PAGE, **more):
        return reply(headers={"content-type": "text/html", **(headers or {})}, body=body, **more)

    accept = {"Accept-Encoding": "gzip"}
    conditions = [
        {"headers": {**accept, **page()}},
        {"headers": {**accept, **page(chunked=True)}},
        {"headers": {**accept, **page({"content-type": "application/json; charset=utf-8"})}},
        {"headers": {**accept, **page(status=404)}},
        {"headers": {**accept, **page(body="x" * 256)}},
        {"headers": {**accept, **page(body="x" * 255)}},
        {"headers": {**accept, **page(body="x" * 255, chunked=True)}},
        {"headers": {**accept, **page({"content-type": "image/png"})}},
        {"headers": {**accept, **page({"content-encoding": "br"})}},
        {"headers": {**accept, **page({"cache-control": "public, no-transform"})}},
        {"headers": {**accept, **page({"vary": "origin"})}},
        {"headers": {**accept, **page({"vary": "Accept-Encoding"})}},
        {"headers": {**accept, **page({"etag": 'W/"a"'})}},
        {"headers": {**accept, **page(status=204)}},
        {"headers": {**accept, **page({"etag": '"a"'}, status=304)}},
        {"headers": {**accept, **page()}, "method": "HEAD"},
        {"headers": page()},
    ]
    # Not `GZIP`: codings have no case (RFC 9110 section 8.4.1), but to Envoy they have.
    weights = [
        "gzip", "gzip;q=1", "gzip;q=0.5", "gzip;q=0", "identity", "*", "*;q=0", "gzip;q=0, *", "deflate", "deflate, gzip",
        "gzip;q=0.001", "identity;q=0.1, gzip",
    ]
    several = [
        "gzip", "br", "zstd", "gzip, br;q=0.5, zstd;q=0.2", "gzip;q=0.3, br;q=0.5, zstd;q=0.2", "zstd;q=0.9, br;q=0.8",
        "gzip, deflate, br, zstd", "identity", "br;q=0, gzip",
    ]

    def all_encoded(*expected):
        def expect(seen):
            got = [one["headers"]["content-encoding"] for one in seen]
            assert got == list(expected), got
            assert all(one["body"] == PAGE.encode() for one in seen)

        return expect

    common = {
        "answer": ("content-encoding", "content-length", "content-type", "cache-control", "vary"),
        "body": decoded,
    }
    return [
        Case(
            "compressor by what a response is",
            envoy=[envoy("gzip", gzip_library)],
            transom=[("compressor", {"algorithms": ["gzip"]})],
            requests=conditions,
            statuses=[200, 200, 200, 404] + [200] * 9 + [204, 304, 200, 200],
            **common,
        ),
        Case(
            "compressor by what a client accepts",
            envoy=[envoy("gzip", gzip_library)],
            transom=[("compressor", {"algorithms": ["gzip"]})],
            requests=[{"headers": {"Accept-Encoding": value, **page()}} for value in weights],
            expect=all_encoded(*["gzip"] * 3, None, None, "gzip", *[None] * 3, *["gzip"] * 3),
            **common,
        ),
        Case(
            "compressor with three algorithms",
            envoy=[envoy("zstd", zstd_library, first=True), envoy("brotli", brotli_library), envoy("gzip", gzip_library)],
            transom=[("compressor", {"algorithms": ["zstd", "br", "gzip"]})],
            requests=[{"headers": {"Accept-Encoding": value, **page()}} for value in several],
            expect=all_encoded("gzip", "br", "zstd", "gzip", "br", "zstd", "zstd", None, "gzip"),
            **common,
        ),
    ]


def mirror():
    return Case(
        "mirror and request_mirror_policies",
        envoy=[],
        envoy_route={"route": {"request_mirror_policies": [{"cluster": "shadow"}]}},
        transom=[("mirror", {"cluster": "shadow"})],
        requests=[
            {"path": "/a?b=c", "headers": {"X-A": "1", "Cookie": "d=e"}},
            {"method": "POST", "path": "/form", "body": b"x" * 1000},
            {"method": "PUT", "chunks": [b"abc", b"def"], "headers": {"Host": "a.test:8080"}},
            {"method": "POST", "body": b"", "headers": reply(status=500)},
        ],
        # Not `content-length`: Transom's copy is whole when it leaves, so that its length is known.
        upstream=("host", "x-a", "cookie"),
        clusters=("shadow",),
        copies=1,
        statuses=[200, 200, 200, 500],
    )


def retry():
    """What is sent again, how often and with which body: what reached the upstream tells."""
    def policy(name, retry_on, on, requests, attempts):
        def expect(seen):
            got = [len(one["upstream"]) for one in seen]
            assert got == attempts, f"{got} attempts are not {attempts}"

        envoy = {"retry_on": retry_on, "num_retries": 2, "retry_back_off": {"base_interval": "0.001s"}}
        if "retriable-status-codes" in retry_on:
            envoy["retriable_status_codes"] = [429]
        return Case(
            f"retry {name}",
            envoy=[],
            envoy_route={"route": {"retry_policy": envoy}},
            transom=[],
            transom_route={"retry": {"on": on, "attempts": 2, "backoff": "1ms..10ms"}},
            requests=requests,
            expect=expect,
        )

    answers = [{"headers": reply(status=status)} for status in (200, 429, 500, 502, 503, 504)]
    bodies = [
        {"method": "POST", "body": b"x" * 1000, "headers": reply(status=503)},
        {"method": "PUT", "chunks": [b"abc", b"def"], "headers": reply(status=503)},
        {"method": "POST", "body": b"", "headers": reply(status=503)},
    ]
    return [
        policy("5xx", "5xx", ["5xx"], answers, [1, 1, 3, 3, 3, 3]),
        policy("gateway_error", "gateway-error", ["gateway_error"], answers, [1, 1, 1, 3, 3, 3]),
        policy("statuses", "retriable-status-codes", [429], answers, [1, 3, 1, 1, 1, 1]),
        policy("with bodies", "5xx", ["5xx"], bodies, [3, 3, 3]),
    ]


CASES: list[Case] = []
for make in (
    payload_limit, buffer, ip_access, cors, basic_auth, rate_limit, health_check, header_to_metadata, compressor, mirror,
    retry,
):
    made = make()
    CASES.extend(made if isinstance(made, list) else [made])
