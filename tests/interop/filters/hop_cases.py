"""What a proxy believes and tells as one hop of many, beside Envoy: fields of the client, ids, and the order of changes."""

import re

from cases import Case, reply

UUID4 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


class HopCase(Case):
    """Lists are compared without the spaces that may stand in them, made ids by their shape."""

    def at_upstream(self, seen: dict) -> dict:
        shown = super().at_upstream(seen)
        return {**shown, "headers": [(name, plain(name, value)) for name, value in shown["headers"]]}

    def one(self, proxy, upstreams, request) -> dict:
        shown = super().one(proxy, upstreams, request)
        return {**shown, "headers": {name: plain(name, value) for name, value in shown["headers"].items()}}


def plain(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if name == "x-request-id" and UUID4.match(value):
        return "a UUID"
    return ", ".join(member.strip() for member in value.split(","))


# Envoy takes 127.0.0.1 for itself and tells another address; these are strangers to both.
SOURCE = "127.0.1.5"


def forwarded():
    lines = [None, "203.0.113.7", "203.0.113.7, 198.51.100.1", "203.0.113.7,198.51.100.1, 192.0.2.9", "nonsense"]
    requests = [
        {"source": SOURCE, "headers": {**({"X-Forwarded-For": line} if line else {}), **({"X-Forwarded-Proto": proto} if proto else {})}}
        for line in lines
        for proto in (None, "https")
    ]
    def case(name, envoy, transom):
        return HopCase(
            f"x-forwarded-for {name}",
            envoy=[],
            transom=[],
            envoy_manager=envoy,
            transom_manager={"forwarded": transom},
            requests=requests,
            upstream=("x-forwarded-for", "x-forwarded-proto"),
            statuses=[200] * len(requests),
        )

    return [
        case("at the edge", {"use_remote_address": True}, {"mode": "append"}),
        case("behind one proxy", {"use_remote_address": True, "xff_num_trusted_hops": 1}, {"mode": "append", "trusted_hops": 1}),
        case("behind two proxies", {"use_remote_address": True, "xff_num_trusted_hops": 2}, {"mode": "append", "trusted_hops": 2}),
    ]


def request_id():
    requests = [
        {"source": SOURCE},
        {"source": SOURCE, "headers": {"X-Request-Id": "mine"}},
        {"source": SOURCE, "headers": {"X-Request-Id": "6f3b3c1e-0000-4000-8000-000000000001"}},
    ]
    def case(name, envoy, transom, **more):
        return HopCase(
            f"x-request-id {name}",
            envoy=[],
            transom=[],
            # Everybody is a stranger, to Envoy too.
            envoy_manager={
                "use_remote_address": True,
                "internal_address_config": {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]},
                **envoy,
            },
            transom_manager={"forwarded": {"mode": "append"}, **transom},
            requests=requests,
            upstream=("x-request-id",),
            answer=("x-request-id",),
            **more,
        )

    def all_made(seen):
        ids = [one["upstream"][0]["headers"] for one in seen]
        assert ids == [[("x-request-id", "a UUID")]] * 3, ids

    return [
        case("of strangers", {}, {"request_id": {}}, expect=all_made),
        case("kept", {"preserve_external_request_id": True}, {"request_id": {"preserve": True}}),
        case("not made", {"generate_request_id": False, "preserve_external_request_id": True}, {"request_id": {"generate": False, "preserve": True}}),
        case("in the response", {"always_set_request_id_in_response": True, "preserve_external_request_id": True},
             {"request_id": {"preserve": True, "in_response": True}}),
    ]


def via_and_server():
    requests = [{}, {"headers": reply(headers={"server": "theirs", "via": "1.0 before"})}, {"headers": {"Via": "1.0 client"}}]
    def case(name, envoy, transom):
        return HopCase(
            f"via and server, {name}",
            envoy=[],
            transom=[],
            envoy_manager=envoy,
            transom_manager=transom,
            requests=requests,
            upstream=("via",),
            answer=("via", "server"),
        )

    # Envoy writes what it is told; Transom adds the version that the specification asks for.
    return [
        case("overwritten", {"via": "1.1 edge", "server_name": "s"}, {"via": "edge", "server": {"name": "s", "overwrite": True}}),
        case("passed on", {"server_header_transformation": "PASS_THROUGH"}, {}),
        case("added", {"server_name": "s", "server_header_transformation": "APPEND_IF_ABSENT"}, {"server": {"name": "s"}}),
    ]


def options(changes):
    """Envoy's list of what is set and added."""
    return [
        {"header": {"key": key, "value": value}, "append_action": action}
        for action, pairs in changes
        for key, value in pairs
    ]


def changes_of_headers():
    set_action, add = "OVERWRITE_IF_EXISTS_OR_ADD", "APPEND_IF_EXISTS_OR_ADD"
    envoy_host = {
        "request_headers_to_remove": ["x-gone"],
        "request_headers_to_add": options([(set_action, [("x-set", "host")]), (add, [("x-add", "host")])]),
        "response_headers_to_remove": ["x-back-gone"],
        "response_headers_to_add": options([(set_action, [("x-back-set", "host")]), (add, [("x-back-add", "host")])]),
    }
    envoy_route = {
        "match": {"prefix": "/route"},
        "route": {"cluster": "backend"},
        "request_headers_to_remove": ["x-both"],
        "request_headers_to_add": options([(set_action, [("x-set", "route"), ("x-back", "1")]), (add, [("x-add", "route"), ("x-both", "again")])]),
        "response_headers_to_remove": ["x-back-both"],
        "response_headers_to_add": options([(set_action, [("x-back-set", "route")]), (add, [("x-back-add", "route"), ("x-back-both", "again")])]),
    }
    rest = {"match": {"prefix": "/"}, "route": {"cluster": "backend"}}
    host = {
        "request_headers": {"remove": ["x-gone"], "set": {"x-set": "host"}, "add": {"x-add": "host"}},
        "response_headers": {"remove": ["x-back-gone"], "set": {"x-back-set": "host"}, "add": {"x-back-add": "host"}},
    }
    route = {
        "match": {"prefix": "/route"},
        "cluster": "backend",
        "request_headers": {"remove": ["x-both"], "set": {"x-set": "route", "x-back": "1"}, "add": {"x-add": "route", "x-both": "again"}},
        "response_headers": {"remove": ["x-back-both"], "set": {"x-back-set": "route"}, "add": {"x-back-add": "route", "x-back-both": "again"}},
    }
    names = ("x-gone", "x-set", "x-add", "x-both", "x-back")
    back = tuple(f"x-back-{name}" for name in ("gone", "set", "add", "both"))
    came = {name: "client" for name in names}
    answered = reply(headers={name: "upstream" for name in back})
    return HopCase(
        "changes of headers by virtual host and route",
        envoy=[],
        transom=[],
        # As Transom does it: the route has the last word.
        envoy_manager={"route_config": {
            "most_specific_header_mutations_wins": True,
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [envoy_route, rest], **envoy_host}],
        }},
        transom_manager={"virtual_hosts": [
            {"domains": ["*"], "routes": [route, {"match": {"prefix": "/"}, "cluster": "backend"}], **host},
        ]},
        requests=[{"path": path, "headers": headers} for path in ("/route", "/") for headers in ({}, {**came, **answered})],
        upstream=names,
        answer=back,
        statuses=[200] * 4,
    )


def redirects_and_rewrites():
    def regex(pattern, substitution):
        return {"pattern": {"regex": pattern}, "substitution": substitution}

    # (match, Envoy's, Transom's)
    routes = [
        ({"path": "/https"}, {"redirect": {"https_redirect": True}}, {"redirect": {"scheme": "https"}}),
        ({"path": "/host"}, {"redirect": {"host_redirect": "b.test"}}, {"redirect": {"host": "b.test"}}),
        ({"path": "/port"}, {"redirect": {"host_redirect": "b.test", "port_redirect": 8443}}, {"redirect": {"host": "b.test", "port": 8443}}),
        ({"path": "/path"}, {"redirect": {"path_redirect": "/new", "response_code": "TEMPORARY_REDIRECT"}}, {"redirect": {"path": "/new", "code": 307}}),
        ({"prefix": "/prefix/"}, {"redirect": {"prefix_rewrite": "/other/", "strip_query": True}}, {"redirect": {"prefix": "/other/", "strip_query": True}}),
        ({"path": "/direct"}, {"direct_response": {"status": 418, "body": {"inline_string": "short"}}}, {"direct_response": {"status": 418, "body": "short"}}),
        ({"prefix": "/api/"}, {"route": {"cluster": "backend", "prefix_rewrite": "/"}}, {"cluster": "backend", "rewrite": {"prefix": "/"}}),
        ({"prefix": "/users/"}, {"route": {"cluster": "backend", "regex_rewrite": regex("^/users/([0-9]+)", r"/people/\1")}},
         {"cluster": "backend", "rewrite": {"regex": {"pattern": "^/users/([0-9]+)", "substitution": "/people/$1"}}}),
        ({"path": "/inner"}, {"route": {"cluster": "backend", "host_rewrite_literal": "inner.test"}}, {"cluster": "backend", "rewrite": {"host": "inner.test"}}),
        ({"prefix": "/"}, {"route": {"cluster": "backend"}}, {"cluster": "backend"}),
    ]
    paths = [
        "/https", "/https?a=b", "/host?a=b", "/port", "/path?a=b", "/prefix/x?a=b", "/direct", "/api/", "/api/x/y?a=/api/",
        "/users/7/x?u=/users/1", "/users/x", "/inner", "/rest",
    ]
    return HopCase(
        "redirects, direct responses and rewrites",
        envoy=[],
        transom=[],
        envoy_manager={"route_config": {"virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": match, **envoy} for match, envoy, _ in routes]},
        ]}},
        transom_manager={"virtual_hosts": [{"domains": ["*"], "routes": [{"match": match, **transom} for match, _, transom in routes]}]},
        requests=[{"path": path, "headers": {"Host": host}} for path in paths for host in ("a.test", "a.test:8080")],
        upstream=("host",),
        answer=("location",),
        body=lambda answer: answer["body"] if answer["status"] in (200, 418) else None,
    )


HOP_CASES = [*forwarded(), *request_id(), *via_and_server(), changes_of_headers(), redirects_and_rewrites()]
