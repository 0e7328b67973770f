"""`ext_authz`: the same service beside Envoy and Transom, by gRPC and by HTTP."""

import json

import peers
from services import Both, Server, differences, suite
from suite import Skip

ENVOY_TYPE = "http.ext_authz.v3.ExtAuthz"
CASES = []


def case(name: str, envoy: dict, transom: dict, *requests: dict, languages=("python",), route=None, envoy_route=None):
    CASES.append((name, envoy, transom, requests, languages, route, envoy_route))


def ask(answer: dict | list | None = None, watch=(), reply=None, **request) -> dict:
    """`answer`: a CheckResponse, or the steps of a script."""
    steps = answer if isinstance(answer, list) else [{"answer": answer or {}}]
    headers = request.pop("headers", {}) | ({"x-reply": json.dumps(reply)} if reply else {})
    return {"script": {"check": steps}, "request": {"headers": headers, **request}, "watch": watch}


def header(name: str, value: str, **more) -> dict:
    return {"header": {"key": name, "value": value}, **more}


POST = {"method": "POST", "body": b"a body of the client"}
DENIED = {"status": {"code": 7}}

case("it lets pass and refuses", {}, {}, ask(), ask(DENIED), ask({"status": {"code": 16}}), languages=("python", "go"))
case(
    "its answer to the client",
    {},
    {},
    ask({**DENIED, "denied_response": {"status": {"code": 401}, "body": "who are you",
         "headers": [header("www-authenticate", "Basic"), header("x-a", "1"), header("content-type", "text/html")]}}, watch=("www-authenticate", "x-a", "content-type")),
    ask({**DENIED, "denied_response": {"body": "no"}}),
    languages=("python", "go"),
)
case(
    "it changes the request",
    {},
    {},
    ask({"ok_response": {"headers": [header("x-set", "2"), header("x-new", "1"), header("x-many", "2", append=True), header("x-fresh", "1", append=True)],
                         "headers_to_remove": ["x-gone"],
                         "response_headers_to_add": [header("x-answer", "1")],
                         "query_parameters_to_set": [{"key": "a", "value": "9"}], "query_parameters_to_remove": ["b"]}},
        path="/?a=1&b=2&c=3", headers={"x-set": "1", "x-many": "1", "x-gone": "1"}, watch=("x-set", "x-new", "x-many", "x-fresh", "x-gone", "x-answer")),
)
case(
    "it sees the body",
    {"with_request_body": {"max_request_bytes": 8, "allow_partial_message": True}},
    {"with_request_body": {"max_request_bytes": 8, "allow_partial_message": True}},
    ask(None, method="POST", body=b"short"),
    ask(None, **POST),
    ask(None),
)
case(
    "bodies that are too long",
    {"with_request_body": {"max_request_bytes": 8, "pack_as_bytes": True}},
    {"with_request_body": {"max_request_bytes": 8, "pack_as_bytes": True}},
    ask(None, method="POST", body=b"short"),
    ask(None, **POST),
)
case("it fails", {}, {}, ask([{"end": 14}]), ask([{"sleep": 0.8}]))
case("it fails, with another status", {"status_on_error": {"code": 503}}, {"status_on_error": 503}, ask([{"end": 14}]))
case(
    "it fails, and that is allowed",
    {"failure_mode_allow": True, "failure_mode_allow_header_add": True},
    {"failure_mode_allow": True, "failure_mode_allow_header_add": True},
    ask([{"end": 14}], watch=("x-envoy-auth-failure-mode-allowed",)),
)
case(
    "what it is shown",
    {"allowed_headers": {"patterns": [{"prefix": "x-"}]}, "disallowed_headers": {"patterns": [{"exact": "x-secret"}]}},
    {"allowed_headers": [{"prefix": "x-"}], "disallowed_headers": ["x-secret"]},
    ask(None, path="/p?q=1", headers={"x-a": "1", "x-secret": "2", "other": "3"}),
)
case(
    "a route's extensions",
    {},
    {},
    ask(),
    route={"filters": {"ext_authz": {"config": {"context_extensions": {"area": "inner"}}}}},
    envoy_route={"typed_per_filter_config": {"ext_authz": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "check_settings": {"context_extensions": {"area": "inner"}}}}},
)


def question(outcome: dict) -> list:
    """What the service was asked, but for what differs from one proxy or connection to another."""
    found = []
    for line in outcome["server"]:
        attributes = line["message"]["attributes"]
        http = attributes["request"]["http"]
        own = ("x-request-id", "x-forwarded", "x-envoy-internal", "x-envoy-expected", "content-length", "accept-encoding", "connection", "transfer-encoding")
        # Pseudo-headers are no headers of Transom's; Envoy's map has them.
        headers = {name: value for name, value in http.get("headers", {}).items() if not name.startswith(own)}
        found.append({
            "http": {key: value for key, value in http.items() if key not in ("headers", "id", "size")} | {"headers": headers},
            "extensions": attributes.get("context_extensions"),
            "source": attributes["source"]["address"]["socket_address"]["address"],
            "destination": attributes["destination"]["address"]["socket_address"]["address"],
        })
    return found


def views(watch) -> dict:
    def picked(headers):
        # Fields of one name are one list, on one line or on several (RFC 9110 section 5.3).
        values = {}
        for name, value in headers:
            if name.lower() in watch:
                values.setdefault(name.lower(), []).extend(part.strip() for part in value.split(","))
        return values and sorted(values.items())

    def body(outcome):
        # The bodies of a proxy's own answers are its own.
        own = (b"Forbidden\n", b"Service Unavailable\n", b"Content Too Large\n", b"Payload Too Large\n", b"Payload Too Large")
        found = outcome["answer"].get("body")
        return b"" if found in own else found

    return {
        "status": lambda outcome: outcome["answer"].get("status"),
        "body": body,
        "headers to the client": lambda outcome: picked(outcome["answer"].get("headers", {}).items()),
        "request at the upstream": lambda outcome: [(seen["method"], seen["path"], seen["body"], picked(seen["headers"])) for seen in outcome["upstream"]],
        "question": question,
    }


def make(name, envoy, transom, requests, route, envoy_route, language):
    def test(scene):
        server = scene.start(Server(language, scene.folder))
        grpc = {"grpc_service": {"envoy_grpc": {"cluster_name": "server"}, "timeout": "0.4s"}, "transport_api_version": "V3"}
        own = {"grpc": {"address": f"127.0.0.1:{server.port}"}, "timeout": "400ms"}
        both = Both(scene, server, [("ext_authz", ENVOY_TYPE, grpc | envoy)], [("ext_authz", own | transom)], envoy_route, route)
        found = []
        for number, request in enumerate(requests):
            outcome = both.ask(request["request"], request["script"])
            found += [f"request {number}: {text}" for text in differences(outcome, views(request["watch"]))]
        if found:
            raise AssertionError("Envoy and Transom differ\n  " + "\n  ".join(found))
        return f"{len(requests)} requests"

    test.__name__ = f"ext-authz {language}: {name}"
    return test


for *definition, languages, route, envoy_route in CASES:
    for language in languages:
        suite.case(make(*definition, route, envoy_route, language))


# By HTTP the service is an upstream of Python: what it answers stands in the field x-auth of the request, which it is sent.
def by_http(name: str, envoy: dict, transom: dict, *requests: dict):
    def test(scene):
        if peers.ENVOY is None:
            raise Skip("envoy is not installed; .ci/tools installs it")
        seen = {}
        for which in ("envoy", "transom"):
            service, upstream = scene.start(peers.Upstream()), scene.start(peers.Upstream())
            service.reply_field = "x-auth"
            folder = scene.folder / which
            folder.mkdir()
            ports = {"backend": upstream.port, "auth": service.port}
            if which == "envoy":
                server = {"server_uri": {"uri": "http://auth", "cluster": "auth", "timeout": "0.4s"}} | envoy.pop("http_service", {})
                filters = [("ext_authz", ENVOY_TYPE, {"http_service": server} | envoy)]
                proxy = peers.Envoy(folder, ports | {"server": 1}, filters, {}, {})
            else:
                filters = [("ext_authz", {"timeout": "400ms", **transom, "http": {"cluster": "auth"} | transom.get("http", {})})]
                proxy = peers.Transom(folder, ports, filters, {}, {})
            proxy = scene.start(proxy)
            seen[which] = []
            for request in requests:
                answer = proxy.ask(request["request"])
                asked = [(each["method"], each["path"], each["body"], dict(each["headers"]).get("Authorization".lower())) for each in service.take()]
                watch = request["watch"]
                passed = [(each["method"], each["path"], each["body"], sorted(pair for pair in each["headers"] if pair[0] in watch)) for each in upstream.take()]
                headers = sorted(pair for pair in answer["headers"].items() if pair[0] in watch)
                body = b"" if answer["body"] in (b"Forbidden\n",) else answer["body"]
                seen[which].append({"status": answer["status"], "body": body, "headers": headers, "asked": asked, "passed": passed})
        found = [f"request {number}\n    Envoy   {one}\n    Transom {other}"
                 for number, (one, other) in enumerate(zip(seen["envoy"], seen["transom"])) if one != other]
        if found:
            raise AssertionError("Envoy and Transom differ\n  " + "\n  ".join(found))
        return f"{len(requests)} requests"

    test.__name__ = f"ext-authz http: {name}"
    suite.case(test)


def answered(watch=(), auth=None, **request) -> dict:
    headers = request.pop("headers", {}) | {"x-auth": json.dumps(auth or {})}
    return {"request": {"headers": headers, **request}, "watch": watch}


ALLOW = {"allowed_headers": {"patterns": [{"exact": "x-auth"}, {"exact": "x-more"}]}}
by_http(
    "it lets pass, refuses and fails",
    {**ALLOW, "http_service": {"path_prefix": "/check"}},
    {"allowed_headers": ["x-auth", "x-more"], "http": {"path_prefix": "/check"}},
    answered(headers={"authorization": "Bearer a"}, path="/x?y=1"),
    answered(auth={"status": 401, "body": "no", "headers": {"x-why": "because", "www-authenticate": "Basic"}}, watch=("x-why", "www-authenticate")),
    answered(auth={"status": 503}),
    answered(auth={"status": 302, "headers": {"location": "/login"}, "body": ""}, watch=("location",)),
    answered(**POST),
)
by_http(
    "fields of its answer",
    {**ALLOW, "http_service": {"authorization_response": {
        "allowed_upstream_headers": {"patterns": [{"prefix": "x-user"}]},
        "allowed_client_headers": {"patterns": [{"exact": "x-why"}]},
        "allowed_client_headers_on_success": {"patterns": [{"exact": "x-fine"}]}}}},
    {"allowed_headers": ["x-auth", "x-more"], "http": {
        "allowed_upstream_headers": [{"prefix": "x-user"}], "allowed_client_headers": ["x-why"], "allowed_client_headers_on_success": ["x-fine"]}},
    answered(auth={"headers": {"x-user": "me", "x-user-id": "1", "x-other": "2", "x-fine": "yes"}}, watch=("x-user", "x-user-id", "x-other", "x-fine")),
    answered(auth={"status": 403, "headers": {"x-why": "1", "x-hidden": "2"}}, watch=("x-why", "x-hidden")),
)
by_http(
    "it sees the body",
    {**ALLOW, "with_request_body": {"max_request_bytes": 8, "allow_partial_message": True}},
    {"allowed_headers": ["x-auth", "x-more"], "with_request_body": {"max_request_bytes": 8, "allow_partial_message": True}},
    answered(**POST),
    answered(method="POST", body=b"short"),
)
