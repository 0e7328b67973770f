"""`ext_proc`: mode by mode, the same server beside Envoy and Transom."""

import base64
import json

from services import Both, Server, differences, suite

ENVOY_TYPE = "http.ext_proc.v3.ExternalProcessor"
UPPER = {"send", "skip", "none", "streamed", "buffered", "buffered_partial", "full_duplex_streamed", "default", "clear", "retain"}


def text(value: str) -> str:
    """Bytes as JSON has them."""
    return base64.b64encode(value.encode()).decode()


def header(name: str, value: str, action: str | None = None, **more) -> dict:
    option = {"header": {"key": name, "raw_value": text(value)}, **more}
    return option | ({"append_action": action} if action else {})


def common(kind: str, **response) -> dict:
    return {"answer": {kind: {"response": response}}}


def changes(*options, remove=()) -> dict:
    return {"set_headers": list(options), "remove_headers": list(remove)}


def mode(**modes) -> dict:
    return {"processing_mode": modes}


SKIP = {"response_header_mode": "skip"}

# Name, configuration (of both, in Transom's words), requests with their scripts. What a request says in `headers_seen` are headers of the
# client's answer to compare, and of the upstream's request.
CASES = []


def case(name: str, config: dict, *requests: dict, envoy_config=None, transom_config=None, route=None, envoy_route=None, languages=("python",)):
    CASES.append((name, config, requests, envoy_config or {}, transom_config or {}, route, envoy_route, languages))


def ask(script: dict, headers: dict | None = None, reply: dict | None = None, watch=(), settle=0, exact=True, **request) -> dict:
    headers = {"x-reply": json.dumps(reply)} | (headers or {}) if reply else (headers or {})
    return {"script": script, "request": {"headers": headers, **request}, "watch": watch, "settle": settle, "exact": exact}


POST = {"method": "POST", "body": b"a body of the client"}
BOTH = ("python", "go")

case("headers pass", mode(), ask({}), ask({}, **POST), languages=BOTH)
case(
    "headers are changed",
    mode(),
    ask(
        {
            "request_headers": [common("request_headers", header_mutation=changes(
                header("x-set", "1"), header("x-many", "3", "APPEND_IF_EXISTS_OR_ADD", append=True),
                header("x-new", "yes", "ADD_IF_ABSENT"), header("x-over", "2", "OVERWRITE_IF_EXISTS"), remove=["x-gone"]))],
            "response_headers": [common("response_headers", header_mutation=changes(
                header("x-answer", "changed"), header(":status", "201"), remove=["x-back"]))],
        },
        headers={"x-many": "1", "x-over": "1", "x-gone": "1"},
        reply={"headers": {"x-back": "1", "x-stays": "1"}},
        watch=("x-set", "x-many", "x-new", "x-over", "x-gone", "x-answer", "x-back", "x-stays"),
    ),
    languages=BOTH,
)
# Envoy 1.40 sees `append` and not `append_action`; Transom sees both, and the two agree where a server says the same by both.
case(
    "a value without an action",
    mode(**SKIP),
    ask({"request_headers": [common("request_headers", header_mutation=changes(header("x-a", "2")))]}, headers={"x-a": "1"}, watch=("x-a",)),
    ask({"request_headers": [common("request_headers", header_mutation=changes(header("x-a", "2", append=True)))]}, headers={"x-a": "1"}, watch=("x-a",)),
    ask({"request_headers": [common("request_headers", header_mutation=changes(header("x-a", "2", append=False)))]}, headers={"x-a": "1"}, watch=("x-a",)),
)
case(
    "what may not be changed",
    mode(**SKIP),
    ask(
        {"request_headers": [common("request_headers", header_mutation=changes(
            header(":method", "PUT"), header(":authority", "other.test"), header("host", "other.test"), header("x-envoy-mine", "1"),
            header("x-fine", "1"), remove=[":path", "host"]))]},
        watch=("x-envoy-mine", "x-fine", "host"),
    ),
    ask({"request_headers": [common("request_headers", header_mutation=changes(header("bad name", "1")))]}),
    ask({"request_headers": [common("request_headers", header_mutation=changes(header("x-bad", "a\nb")))]}),
    ask({"request_headers": [common("request_headers", header_mutation=changes({"header": {"key": "x", "value": "1", "raw_value": text("2")}}))]}, watch=("x",)),
    ask({"request_headers": [common("request_headers", header_mutation=changes(header(":path", "/moved?x=1")))]}),
)
case(
    "rules of changes",
    mode(**SKIP) | {"mutation_rules": {"disallow_all": True, "disallow_is_error": True}},
    ask({"request_headers": [common("request_headers", header_mutation=changes(header("x-fine", "1")))]}, watch=("x-fine",)),
    ask({}),
)
case(
    "rules that allow",
    mode(**SKIP) | {"mutation_rules": {"allow_all_routing": True, "allow_envoy": True}},
    ask({"request_headers": [common("request_headers", header_mutation=changes(
        header(":method", "PUT"), header("x-envoy-mine", "1")))]}, watch=("x-envoy-mine",)),
)
for body_mode in ("streamed", "buffered", "buffered_partial"):
    case(
        f"bodies {body_mode}",
        mode(request_body_mode=body_mode, response_body_mode=body_mode),
        ask({}, **POST),
        ask({}),
        ask({"request_body": [common("request_body", body_mutation={"clear_body": True})]}, chunks=[b"one"], method="POST"),
        ask({}, chunks=[b"one ", b"two ", b"three"], method="POST"),
        ask({"response_body": [common("response_body", body_mutation={"clear_body": True})]}, reply={"chunked": True, "headers": {"x-a": "1"}}),
        languages=BOTH,
    )
    case(
        f"bodies {body_mode}, without headers",
        mode(request_header_mode="skip", response_header_mode="skip", request_body_mode=body_mode, response_body_mode=body_mode),
        ask({}, **POST),
        ask({"request_body": [common("request_body", body_mutation={"clear_body": True})]}, chunks=[b"one"], method="POST"),
    )
case(
    "a whole body is changed with its headers",
    mode(request_body_mode="buffered", response_body_mode="buffered"),
    ask(
        {
            "request_body": [common("request_body", header_mutation=changes(header("x-seen", "body"), header("content-length", "9")),
                                    body_mutation={"body": text("the other")})],
            "response_body": [common("response_body", header_mutation=changes(header("x-answer", "body"), header("content-length", "3")),
                                     body_mutation={"body": text("new")})],
        },
        watch=("x-seen", "x-answer"),
        **POST,
    ),
)
case(
    "pieces are changed",
    mode(request_body_mode="streamed", response_body_mode="streamed"),
    ask(
        {
            "request_body": [common("request_body", body_mutation={"body": text("piece")})],
            "response_body": [common("response_body", body_mutation={"body": text("answer")}), common("response_body", body_mutation={"clear_body": True})],
        },
        chunks=[b"one"],
        method="POST",
        reply={"chunked": True, "headers": {}},
    ),
)
case(
    "the message is replaced",
    mode(**SKIP, request_body_mode="streamed"),
    ask({"request_headers": [common("request_headers", status="CONTINUE_AND_REPLACE", header_mutation=changes(header("x-a", "1")),
                                    body_mutation={"body": text("replaced")})]}, watch=("x-a",), **POST),
    ask({"request_headers": [common("request_headers", status="CONTINUE_AND_REPLACE", header_mutation=changes(header(":method", "POST")),
                                    body_mutation={"body": text("made")})]}),
)
case(
    "the server answers",
    mode(request_body_mode="buffered"),
    ask({"request_headers": [{"answer": {"immediate_response": {"status": {"code": 403}, "body": text("no"),
         "headers": changes(header("x-why", "because"), header("content-type", "text/html")), "details": "not you"}}}]}, watch=("x-why", "content-type")),
    ask({"request_headers": [{"answer": {"immediate_response": {"status": {"code": 401}}}}]}),
    ask({"request_headers": [{"answer": {"immediate_response": {}}}]}),
    ask({"request_body": [{"answer": {"immediate_response": {"status": {"code": 422}, "body": text("bad body")}}}]}, **POST),
    ask({"response_headers": [{"answer": {"immediate_response": {"status": {"code": 502}, "body": text("hidden")}}}]}),
    languages=BOTH,
)
case(
    "the server may not answer",
    mode() | {"disable_immediate_response": True},
    ask({"request_headers": [{"answer": {"immediate_response": {"status": {"code": 403}}}}]}),
)
case(
    "the server fails",
    mode(),
    ask({"request_headers": [{"end": 14}]}),
    ask({"request_headers": [{"end": 0}]}),
    ask({"request_headers": [{"sleep": 0.6}]}),
    ask({"response_headers": [{"end": 14}]}),
    ask({"request_headers": [common("request_body")]}),
    languages=BOTH,
)
case(
    "the server fails, and that is allowed",
    mode(request_body_mode="streamed") | {"failure_mode_allow": True},
    ask({"request_headers": [{"end": 14}]}),
    ask({"request_headers": [{"sleep": 0.6}]}),
    ask({"request_body": [{"end": 14}]}, **POST),
    ask({"response_headers": [{"end": 14}]}),
)
case(
    "the server asks for time",
    mode(**SKIP) | {"max_message_timeout": "2s"},
    ask({"request_headers": [[{"answer": {"override_message_timeout": "1s"}}, {"sleep": 0.5}, {"answer": None}]]}),
    ask({"request_headers": [[{"answer": {"override_message_timeout": "5s"}}, {"sleep": 0.5}, {"answer": None}]]}),
)
case(
    "the server changes the mode",
    mode() | {"allow_mode_override": True},
    ask({"request_headers": [{"answer": {"request_headers": {}, "mode_override": {"response_header_mode": "SKIP"}}}]}),
    ask({"request_headers": [{"answer": {"request_headers": {}, "mode_override": {"request_body_mode": "BUFFERED"}}}],
         "request_body": [common("request_body", body_mutation={"body": text("changed by the server")}, header_mutation=changes(header("content-length", "21")))]}, **POST),
    ask({"request_headers": [{"answer": {"request_headers": {}, "mode_override": {"request_body_mode": "STREAMED", "response_header_mode": "SKIP"}}}]}, **POST),
)
case(
    "attributes",
    mode(**SKIP) | {"request_attributes": ["request.path", "request.method", "request.host", "request.scheme", "request.protocol", "nothing.known"]},
    ask({}, path="/here?x=1"),
)
case(
    "which headers are shown",
    mode(**SKIP) | {"forward_rules": {"allowed_headers": [{"prefix": "x-"}, ":path"], "disallowed_headers": ["x-secret"]}},
    ask({}, headers={"x-a": "1", "x-secret": "1", "other": "1"}),
    envoy_config={"forward_rules": {"allowed_headers": {"patterns": [{"prefix": "x-"}, {"exact": ":path"}]},
                                    "disallowed_headers": {"patterns": [{"exact": "x-secret"}]}}},
)
case(
    "the server only watches",
    mode(request_body_mode="streamed", response_body_mode="streamed") | {"observability_mode": True},
    ask({"request_headers": [{"sleep": 0.1}]}, settle=0.5, **POST),
)
case(
    "full duplex",
    mode(request_body_mode="full_duplex_streamed", request_trailer_mode="send", **SKIP),
    ask({"request_body": [common("request_body", body_mutation={"streamed_response": {"body": text("of the server"), "end_of_stream": True}})]}, settle=0.2, exact=False, **POST),
)
case(
    "the route is looked for again",
    mode(**SKIP),
    ask({"request_headers": [common("request_headers", clear_route_cache=True, header_mutation=changes(header("x-go", "there")))]}),
    ask({"request_headers": [common("request_headers", header_mutation=changes(header("x-go", "there")))]}),
)
case(
    "pieces before the answer to the headers",
    mode(request_body_mode="streamed", **SKIP) | {"send_body_without_waiting_for_header_response": True},
    ask({}, **POST),
    ask({"request_headers": [[{"sleep": 0.05}, common("request_headers", header_mutation=changes(header("x-a", "1")))]],
         "request_body": [common("request_body", body_mutation={"body": text("piece")})]}, watch=("x-a",), **POST),
)


def envoy_filter(config: dict) -> tuple:
    def upper(value):
        if isinstance(value, dict):
            return {key: upper(entry) for key, entry in value.items()}
        return value.upper() if isinstance(value, str) and value in UPPER else value

    grpc = {"envoy_grpc": {"cluster_name": "server"}, "timeout": "5s"}
    return ("ext_proc", ENVOY_TYPE, {"grpc_service": grpc} | upper(config))


def kinds(outcome: dict, exact: bool = True) -> list:
    """What the server was sent, message by message; pieces of a body, whose cut is chance, as one."""
    seen = []
    for line in outcome["server"]:
        message = line["message"]
        kind = next(key for key in message if key.startswith(("request_", "response_")))
        part = message[kind]
        entry = [kind, part.get("end_of_stream", False)]
        if kind.endswith("body"):
            body = base64.b64decode(part.get("body", ""))
            if seen and seen[-1][0] == kind:
                seen[-1][1] = entry[1]
                seen[-1][2] += body
                continue
            entry.append(body)
        seen.append(entry)
    # A server that has closed a body may or may not have been sent its end.
    return seen if exact else [[entry[0], *entry[2:]] for entry in seen]


def shown_headers(outcome: dict) -> list:
    """The headers that the server saw, but for those that each proxy makes itself."""
    own = ("x-request-id", "x-forwarded-proto", "x-forwarded-for", "x-envoy", "date", "server", "content-length", "transfer-encoding",
           "connection", "accept-encoding", "via")
    return [
        sorted(
            (entry["key"], base64.b64decode(entry.get("raw_value", "")).decode() + entry.get("value", ""))
            for entry in part["headers"]["headers"]
            if not entry["key"].startswith(own)
        )
        for line in outcome["server"]
        for kind, part in line["message"].items()
        if kind.endswith("_headers")
    ]


def attributes(outcome: dict) -> list:
    return [found for line in outcome["server"] if (found := line["message"].get("attributes"))]


def views(watch, exact) -> dict:
    def picked(headers):
        return sorted((name.lower(), value) for name, value in headers if name.lower() in watch)

    return {
        "status": lambda outcome: outcome["answer"].get("status"),
        # The bodies of a proxy's own answers are its own: Envoy's are empty, Transom's say what the status is.
        "body": lambda outcome: outcome["answer"].get("body").replace(b"Internal Server Error\n", b"").replace(b"Gateway Timeout\n", b""),
        "headers to the client": lambda outcome: picked(outcome["answer"].get("headers", {}).items()),
        "request at the upstream": lambda outcome: [(seen["method"], seen["path"], seen["body"], picked(seen["headers"])) for seen in outcome["upstream"]],
        "messages to the server": lambda outcome: kinds(outcome, exact),
        "headers that the server saw": shown_headers,
        "attributes": attributes,
    }


def make(name, config, requests, envoy_config, transom_config, route, envoy_route, language):
    def test(scene):
        server = scene.start(Server(language, scene.folder))
        transom = {"grpc": {"address": f"127.0.0.1:{server.port}"}} | config | transom_config
        both = Both(scene, server, [envoy_filter(config | envoy_config)], [("ext_proc", transom)], envoy_route, route)
        found = []
        for number, request in enumerate(requests):
            outcome = both.ask(request["request"], request["script"], request["settle"])
            for difference in differences(outcome, views(request["watch"], request["exact"])):
                found.append(f"request {number}: {difference}")
        if found:
            raise AssertionError("Envoy and Transom differ\n  " + "\n  ".join(found))
        return f"{len(requests)} requests"

    test.__name__ = f"ext-proc {language}: {name}"
    return test


for *definition, languages in CASES:
    for language in languages:
        suite.case(make(*definition, language))
