"""Lines of access logs, operator by operator, beside Envoy's: the same formats, the same requests."""

import json
import pathlib
import re
import time
from dataclasses import dataclass, field

from cases import Case, reply

# What is the same wherever it is run: addresses of hosts and clients have ports that the kernel chose, which are masked.
OPERATORS = [
    "%REQ(:METHOD)%", "%REQ(:PATH)%", "%REQ(:AUTHORITY)%", "%REQ(:SCHEME)%", "%REQ(X-A)%", "%REQ(X-NONE?X-A)%", "%REQ(X-NONE)%",
    "%REQ(X-A):2%", "%REQ_WITHOUT_QUERY(:PATH)%", "%PATH%", "%PATH(NQ)%", "%PATH(WQ:PATH)%", "%PATH(NQ:ORIG_OR_PATH)%",
    "%QUERY_PARAM(x)%", "%QUERY_PARAM(none)%", "%REQUEST_HEADER(X-A)%",
    "%RESP(CONTENT-TYPE)%", "%RESP(X-NONE?CONTENT-TYPE)%", "%RESP(X-NONE)%", "%RESPONSE_HEADER(CONTENT-TYPE)%", "%TRAILER(X-T)%",
    "%PROTOCOL%", "%RESPONSE_CODE%", "%RESPONSE_CODE_DETAILS%", "%RESPONSE_FLAGS%", "%RESPONSE_FLAGS_LONG%",
    "%BYTES_RECEIVED%", "%BYTES_SENT%",
    "%UPSTREAM_HOST%", "%UPSTREAM_CLUSTER%", "%UPSTREAM_CLUSTER_RAW%", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "%UPSTREAM_REMOTE_ADDRESS%", "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%UPSTREAM_LOCAL_ADDRESS%", "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "%UPSTREAM_PROTOCOL%",
    "%UPSTREAM_TLS_VERSION%", "%UPSTREAM_TLS_CIPHER%", "%UPSTREAM_PEER_SUBJECT%",
    "%DOWNSTREAM_REMOTE_ADDRESS%", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_LOCAL_ADDRESS%", "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_TLS_VERSION%", "%DOWNSTREAM_TLS_CIPHER%", "%DOWNSTREAM_PEER_SUBJECT%", "%REQUESTED_SERVER_NAME%",
    "%ROUTE_NAME%", "%STREAM_ID%", "%ACCESS_LOG_TYPE%", "%HOSTNAME%", "%ENVIRONMENT(HOME)%",
    "%ENVIRONMENT(NO_SUCH_VARIABLE)%",
    "%GRPC_STATUS%", "%GRPC_STATUS(SNAKE_STRING)%", "%GRPC_STATUS_NUMBER%",
    "%METADATA(ROUTE:app:tier)%", "%METADATA(ROUTE:app:deep:list)%", "%METADATA(ROUTE:app:none)%", "%METADATA(VIRTUAL_HOST:app:tier)%",
    "%DYNAMIC_METADATA(app:none)%", "%FILTER_STATE(none)%", "%START_TIME(%Y)%", "%%",
]

REQUESTS = [
    {"path": "/plain?x=1&y=2", "headers": {"X-A": "value", "X-Request-Id": "one", "X-Forwarded-For": "203.0.113.7, 198.51.100.1"}},
    {"path": "/plain", "method": "POST", "body": b"x" * 1000, "headers": {"X-A": "", **reply(body="y" * 2000, chunked=True)}},
    {"path": "/gold?x=%20&x=2", "method": "HEAD"},
    {"path": "/gold", "headers": {"Host": "A.test:81", **reply(status=204)}},
    {"path": "/direct", "headers": {"X-A": "v"}},
    {"path": "/moved?x=3"},
    {"path": "/none", "headers": {"Host": "nowhere.test"}},
    {"path": "/rewritten/a?x=4"},
    {"path": "/plain", "headers": {"Content-Type": "application/grpc", **reply(headers={"grpc-status": "5", "content-type": "application/grpc"})}},
    {"path": "/plain", "headers": {"Content-Type": "application/grpc", **reply(headers={"grpc-status": "77"})}},
    {"path": "/down"},
    {"path": "/plain", "headers": reply(status=503)},
]

ROUTES = {"app": {"tier": "gold", "deep": {"list": [1, "a", True]}}}

ENVOY_ROUTES = [
    {"name": "gold", "match": {"prefix": "/gold"}, "route": {"cluster": "backend"}, "metadata": {"filter_metadata": ROUTES}},
    {"name": "direct", "match": {"path": "/direct"}, "direct_response": {"status": 299, "body": {"inline_string": "short"}}},
    {"match": {"path": "/moved"}, "redirect": {"path_redirect": "/new"}},
    {"match": {"prefix": "/rewritten/"}, "route": {"cluster": "backend", "prefix_rewrite": "/"}},
    {"name": "down", "match": {"prefix": "/down"}, "route": {"cluster": "down"}},
    {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
]

TRANSOM_ROUTES = [
    {"name": "gold", "match": {"prefix": "/gold"}, "cluster": "backend", "metadata": ROUTES},
    {"name": "direct", "match": {"path": "/direct"}, "direct_response": {"status": 299, "body": "short"}},
    {"match": {"path": "/moved"}, "redirect": {"path": "/new"}},
    {"match": {"prefix": "/rewritten/"}, "cluster": "backend", "rewrite": {"prefix": "/"}},
    {"name": "down", "match": {"prefix": "/down"}, "cluster": "down"},
    {"match": {"prefix": "/"}, "cluster": "backend"},
]


@dataclass
class LogCase(Case):
    """Both write the same format; what each wrote of a request is compared."""

    as_json: bool = False
    operators: list = field(default_factory=list)

    def begin(self, folder: pathlib.Path):
        self.files = {name: folder / f"{name}-access.log" for name in ("envoy", "transom")}
        keyed = {str(index): operator for index, operator in enumerate(self.operators)}
        text = "\t".join(self.operators) + "\n"
        envoy_format = {"json_format": keyed} if self.as_json else {"text_format_source": {"inline_string": text}}
        # In Envoy these operators are extensions.
        envoy_format["formatters"] = [
            {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.formatter.{url}"}}
            for name, url in (("metadata", "metadata.v3.Metadata"), ("query", "req_without_query.v3.ReqWithoutQuery"))
        ]
        own_format = {"json": keyed} if self.as_json else {"format": text}
        self.envoy_manager = {
            "use_remote_address": True,
            "xff_num_trusted_hops": 1,
            "preserve_external_request_id": True,
            "generate_request_id": False,
            "access_log": [{"name": "file", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": str(self.files["envoy"]),
                "log_format": envoy_format,
            }}],
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["a.test", "a.test:81"], "routes": ENVOY_ROUTES,
                "metadata": {"filter_metadata": {"app": {"tier": 1}}},
            }]},
        }
        self.transom_manager = {
            "forwarded": {"mode": "append", "trusted_hops": 1},
            "request_id": {"generate": False, "preserve": True},
            # As Envoy answers.
            "local_reply": {"upstream_unavailable": 503},
            "access_logs": [{"name": "file", "config": {"path": str(self.files["transom"]), "flush_interval": "0s", **own_format}}],
            "virtual_hosts": [{
                "name": "all", "domains": ["a.test", "a.test:81"], "routes": TRANSOM_ROUTES,
                "metadata": {"app": {"tier": 1}},
            }],
        }

    def observe(self, proxy, upstreams) -> list[dict]:
        upstreams["down"].server.shutdown()
        upstreams["down"].server.server_close()
        file = self.files[type(proxy).__name__.lower()]
        lines = []
        for number, request in enumerate(self.requests):
            proxy.ask(request)
            end = time.monotonic() + 10
            # One after the other, so that each line's request is known.
            while len(lines := file.read_text().splitlines() if file.exists() else []) <= number:
                assert time.monotonic() < end, f"no line of request {number}"
                time.sleep(0.01)
        return [self.values(request, line) for request, line in zip(self.requests, lines)]

    def values(self, request: dict, line: str) -> dict:
        if self.as_json:
            shown = json.loads(line)
            values = [shown[str(index)] for index in range(len(self.operators))]
        else:
            values = line.split("\t")
            assert len(values) == len(self.operators), line
        told = dict(zip(self.operators, map(masked, values)))
        return {operator: value for operator, value in told.items() if not differs(request, operator)}


def masked(value):
    """Ports are the kernel's choice."""
    return re.sub(r"^(127\.0\.0\.1):\d+$", r"\1:port", value) if isinstance(value, str) else value


def differs(request: dict, operator: str) -> bool:
    """Where the two differ on purpose, or have no common word."""
    path = request["path"].split("?")[0]
    return (
        # What a proxy answers itself it says in words of its own.
        path in ("/down", "/none") and ("CONTENT-TYPE" in operator or operator == "%BYTES_SENT%")
        or path == "/down" and operator == "%RESPONSE_CODE_DETAILS%"
        # Of a request without an id, Transom's is a number of its own.
        or operator == "%STREAM_ID%" and "X-Request-Id" not in request.get("headers", {})
    )


LOG_CASES = [
    LogCase(
        f"lines of access logs in {name}", envoy=[], transom=[], requests=REQUESTS, clusters=("down",), as_json=as_json, operators=OPERATORS,
    )
    for name, as_json in (("text", False), ("JSON", True))
]
