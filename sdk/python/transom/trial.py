"""A request that meets a filter in a unit test, without a host."""

import asyncio

from transom.config import Config
from transom.mosn_calls import Port, Store
from transom.headers import fields
from transom.plugin.v1 import action_pb2, plugin_pb2 as pb, work_pb2
from transom.service import Service
from transom.stream import Stream, from_wire, to_wire


class Trial:
    """`Trial(Filter, config='{…}').run(path="/shop", headers={"user": "admin"}, body=b"…")`: what became of the request.

    `callouts` are the answers of clusters: (status, headers, body). Times pass at once; shared data begins empty. A configuration that is wrong
    raises `Fault`."""

    def __init__(self, cls, *, config="", route="", attributes=None, callouts=None):
        self.cls, self.config, self.route = cls, config.encode(), route.encode()
        self.attributes = {name: to_wire(value) for name, value in (attributes or {}).items()}
        self.callouts = {
            cluster: action_pb2.CalloutResponse(headers=fields([(":status", str(status)), *dict(headers).items()]), body=body)
            for cluster, (status, headers, body) in (callouts or {}).items()
        }

    def run(self, *, method="GET", path="/", headers=(), body=b"", response=None, response_body=b""):
        """Has a request pass a new filter, and, if `response` (status, headers) is given and the request went on, its response."""
        return asyncio.run(self._run(method, path, headers, body, response, response_body))

    async def _run(self, method, path, headers, body, response, response_body):
        service = Service(_Only(self.cls), b"", 0)
        ready, _ = await service.ready(pb.STREAM_FILTER, self.cls, "trial", Config(self.config))
        port = Port(Store(), self.callouts)
        port.fast = True
        begin = work_pb2.StreamBegin(attributes=self.attributes, route_config=self.route)
        stream = port.stream = Stream(1, port, ready, 0, begin)
        first = [(":method", method), (":scheme", "http"), (":authority", "example.test"), (":path", path)]
        pairs = headers.items() if isinstance(headers, dict) else headers
        await self._pass(port, 0, [*first, *pairs], body)
        if response is not None and not port.over():
            status, pairs = response
            await self._pass(port, 1, [(":status", str(status)), *dict(pairs).items()], response_body)
        stream.ends(9, None)
        await asyncio.sleep(0)
        return Outcome(port, stream, body, response_body)

    async def _pass(self, port, direction, pairs, body):
        await asyncio.wait_for(port.pass_headers(direction, pairs, not body), 5)
        if port.verdict == 1 and not body:
            await asyncio.wait_for(port.wait(), 5)
        if body and not port.over():
            data = work_pb2.Data(direction=direction, data=body, end=True)
            await asyncio.wait_for(port.step(port.stream.data_arrives, data), 5)
            await asyncio.wait_for(port.wait(), 5)


class Outcome:
    """What became of a trial: `status` (of the filter's own answer; None if the request went on), `reply`, `request` and `response` (headers),
    `request_body`, `response_body`, `failure`, `metadata`, `logs`."""

    def __init__(self, port, stream, body, response_body):
        self.reply = port.reply
        self.status = port.reply.status if port.reply is not None else None
        self.request, self.response = stream.request, stream.response
        self.request_body = port.bodies.get(0, body)
        self.response_body = port.bodies.get(1, response_body)
        self.failure = port.failure
        self.metadata = {key: from_wire(value) for key, value in port.metadata.items()}
        self.logs = port.logs


class _Only:
    def __init__(self, cls):
        self.name, self.version = "trial", "0"
        self.filters, self.network, self.certificates = [cls], [], []
