"""`als`: the records of the same requests, as Envoy and Transom send them to the same server."""


import peers
from services import Server, suite
from suite import Skip, equal, until

TYPE = "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"


def entries(server) -> list:
    return [entry for line in server.seen() if line["call"] == "als" for entry in line["message"].get("http_logs", {}).get("log_entry", [])]


def facts(entry: dict) -> dict:
    """What of a record does not depend on time, ports and the proxy."""
    common, request, response = entry["common_properties"], entry["request"], entry["response"]
    return {
        "version": entry["protocol_version"],
        "client": common["downstream_remote_address"]["socket_address"]["address"],
        "flags": common.get("response_flags"),
        "cluster": common.get("upstream_cluster"),
        "host": common.get("upstream_remote_address", {}).get("socket_address", {}).get("address"),
        "request": {key: request.get(key) for key in ("request_method", "scheme", "authority", "path", "request_body_bytes", "user_agent", "request_headers")},
        "response": {key: response.get(key) for key in ("response_code", "response_body_bytes", "response_code_details", "response_headers")},
    }


def make(language):
    def test(scene):
        if peers.ENVOY is None:
            raise Skip("envoy is not installed; .ci/tools installs it")
        found = {}
        requests = [
            {"path": "/a?b=1", "headers": {"x-a": "1", "User-Agent": "suite"}},
            {"method": "POST", "body": b"four", "headers": {"x-reply": '{"status": 404}'}},
        ]
        for which in ("envoy", "transom"):
            folder = scene.folder / which
            folder.mkdir()
            server = scene.start(Server(language, folder))
            upstream = scene.start(peers.Upstream())
            if which == "envoy":
                log = {"name": "als", "typed_config": {
                    "@type": TYPE, "common_config": {"log_name": "suite", "transport_api_version": "V3", "buffer_flush_interval": "0.2s",
                                                     "grpc_service": {"envoy_grpc": {"cluster_name": "server"}}},
                    "additional_request_headers_to_log": ["x-a"], "additional_response_headers_to_log": ["content-type"]}}
                proxy = peers.Envoy(folder, {"backend": upstream.port, "server": server.port}, [], {}, {"access_log": [log]})
            else:
                log = {"name": "als", "config": {
                    "grpc": {"address": f"127.0.0.1:{server.port}"}, "log_name": "suite", "flush_interval": "200ms",
                    "additional_request_headers": ["x-a"], "additional_response_headers": ["content-type"]}}
                proxy = peers.Transom(folder, {"backend": upstream.port}, [], {}, {"access_logs": [log]})
            proxy = scene.start(proxy)
            for request in requests:
                proxy.ask(request)
            until(lambda: len(entries(server)) >= len(requests), f"records of {which}")
            first = next(line for line in server.seen() if line["call"] == "als")
            equal(first["message"]["identifier"]["log_name"], "suite")
            # Two workers may send in either order.
            found[which] = sorted((facts(entry) for entry in entries(server)), key=str)
        equal(found["transom"], found["envoy"], "Transom's records beside Envoy's")
        return f"{len(requests)} records"

    test.__name__ = f"als {language}: records of streams"
    return test


for language in ("python", "go"):
    suite.case(make(language))
