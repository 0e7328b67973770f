"""MOSN's `call`, answered by the same extensions.

A call with headers is a request that meets the first stream filter: changes come back as MOSN's pluginfilter takes them, a refusal is status -1, as
demo_plugin takes it. One without is for the certificate provider, if there is one (loader). Callouts are not to be had.
"""

import asyncio
import json

import grpc

from transom.filter import StreamFilter, has
from transom.headers import fields
from transom.mosn import plugin_pb2 as mosn
from transom.plugin.v1 import action_pb2, plugin_pb2 as pb, work_pb2
from transom.service import certificate
from transom.stream import Stream


class Calls:
    def __init__(self, service):
        self.service = service
        self.filter = self.provider = None
        self.store = Store()

    @classmethod
    async def prepare(cls, service):
        from transom.config import Config

        calls = cls(service)
        config = Config(service.defaults)
        if service.plugin.filters:
            calls.filter, _ = await service.ready(pb.STREAM_FILTER, service.plugin.filters[0], "mosn", config)
        if service.plugin.certificates:
            ready, _ = await service.ready(pb.CERTIFICATE_PROVIDER, service.plugin.certificates[0], "mosn", config)
            calls.provider = ready.provider
        if calls.filter is None and calls.provider is None:
            raise ValueError("MOSN calls stream filters and certificate providers, and this plugin has neither")
        return calls

    def handler(self):
        call = grpc.unary_unary_rpc_method_handler(self.call, mosn.Request.FromString, mosn.Response.SerializeToString)
        return grpc.method_handlers_generic_handler("proto.Plugin", {"Call": call})

    async def call(self, request, context):
        if self.provider is not None and (self.filter is None or not request.header):
            try:
                given = await certificate(self.provider, "")
            except Exception as error:
                await context.abort(grpc.StatusCode.UNKNOWN, str(error))
            pem = {"cert_pem": given.chain, "key_pem": given.key, "ca_pem": given.client_authorities}
            body = json.dumps({name: value.decode() for name, value in pem.items()})
            return mosn.Response(body=body.encode(), status=1)
        port = Port(self.store)
        stream = port.stream = Stream(1, port, self.filter, self.service.level, work_pb2.StreamBegin())
        try:
            await port.pass_request(request)
        finally:
            stream.end_waits()
        if port.failure:
            await context.abort(grpc.StatusCode.UNKNOWN, port.failure)
        if port.reply is not None:
            return mosn.Response(status=-1)
        return port.response


class Port:
    """The host of one request: MOSN's, or a trial's."""

    def __init__(self, store, callouts=None):
        self.loop = asyncio.get_running_loop()
        self.store, self.callouts = store, callouts or {}
        self.stream = None
        self.response = mosn.Response(status=1)
        self.reply, self.failure = None, ""
        self.verdict = None
        self.resumed = False
        self.metadata, self.logs, self.metrics, self.bodies = {}, [], [], {}
        self.news = asyncio.Event()
        self.fast = False

    async def pass_request(self, request):
        pairs = list(request.header.items())
        known = {name.lower() for name, _ in pairs}
        pseudo = [(name, value) for name, value in ((":method", "GET"), (":path", "/"), (":authority", "")) if name not in known]
        pairs = pseudo + sorted(pairs)
        end = not request.body and not request.trailer
        await self.pass_headers(0, pairs, end)
        if request.body and self.goes_on():
            await self.step(self.stream.data_arrives, work_pb2.Data(data=request.body, end=not request.trailer))
        if request.trailer and self.goes_on():
            await self.step(self.stream.trailers_arrive, work_pb2.Trailers(fields=fields(sorted(request.trailer.items()))))
        await self.wait()
        if self.stream._filter is not None and has(type(self.stream._filter), StreamFilter, "complete"):
            self.stream.ends(9, None)

    async def pass_headers(self, direction, pairs, end):
        self.resumed = False
        await self.step(self.stream.headers_arrive, work_pb2.Headers(direction=direction, fields=fields(pairs), end=end))

    async def step(self, arrive, message):
        self.verdict = None
        arrive(1, message)
        while self.verdict is None and not self.over():
            await self._next()
        if self.verdict is not None and self.verdict >= 2:
            await self.wait()

    async def wait(self):
        """Until what waits at the filter may go on."""
        while self.verdict and not self.resumed and not self.over():
            await self._next()

    async def _next(self):
        await self.news.wait()
        self.news.clear()

    def over(self) -> bool:
        return self.reply is not None or bool(self.failure)

    def goes_on(self) -> bool:
        return not self.over() and (self.resumed or (self.verdict or 0) < 2)

    def answer(self, _number, _callback, verdict, actions):
        self.verdict = verdict
        self.actions(0, actions)

    def actions(self, _number, actions):
        for action in actions:
            self._apply(action.WhichOneof("action"), action)
        self.news.set()

    def _apply(self, kind, action):
        if kind == "fields":
            self._change(action.fields)
        elif kind == "body":
            self.bodies[action.body.direction] = action.body.data
            if action.body.direction == 0:
                self.response.body = action.body.data
        elif kind == "resume":
            self.resumed = True
        elif kind in ("local_reply", "terminate"):
            self.reply = action.local_reply
        elif kind == "fail":
            self.failure = action.fail
        elif kind == "timer":
            event = action_pb2.Event(timer=action.timer.timer)
            self.loop.call_later(0 if self.fast else action.timer.after_ms / 1000, self.stream.happened, event)
        elif kind in ("http_call", "grpc_call"):
            call = getattr(action, kind)
            done = self.callouts.get(call.cluster)
            done = action_pb2.CalloutDone(error=action_pb2.UNSUPPORTED) if done is None else action_pb2.CalloutDone(response=done)
            done.callout = call.callout
            self.loop.call_soon(self.stream.happened, action_pb2.Event(callout=done))
        elif kind == "shared":
            self.loop.call_soon(self.stream.happened, action_pb2.Event(shared=self.store.perform(action.shared)))
        elif kind == "metadata":
            self.metadata[action.metadata.namespace, action.metadata.key] = action.metadata.value
        elif kind == "log":
            self.logs.append(action.log.message)
        elif kind == "metric":
            self.metrics.append((action.metric.metric, action.metric.amount))

    def _change(self, change):
        """MOSN's answer has one map of what changed: empty is gone."""
        if change.map == action_pb2.REQUEST_HEADERS:
            into, headers = self.response.header, self.stream.request
        elif change.map == action_pb2.REQUEST_TRAILERS:
            into, headers = self.response.trailer, self.stream.request_trailers
        else:
            return
        for name in change.remove:
            into[name.decode()] = ""
        for field in change.set:
            into[field.name.decode()] = field.value.decode("latin-1")
        for field in change.add:
            into[field.name.decode()] = ", ".join(headers.get_all(field.name.decode()))


class Store:
    """Shared data where the host has none: the plugin's own."""

    def __init__(self):
        self.values = {}

    def perform(self, shared):
        if shared.WhichOneof("operation") == "get":
            value, version = self.values.get(shared.get, (None, 0))
            return action_pb2.SharedResult(key=shared.get, value=value, version=version, done=True)
        key = shared.set.key
        _, version = self.values.get(key, (None, 0))
        if shared.set.HasField("version") and shared.set.version != version:
            return action_pb2.SharedResult(key=key)
        if shared.set.HasField("value"):
            self.values[key] = (shared.set.value, version + 1)
        else:
            self.values.pop(key, None)
        return action_pb2.SharedResult(key=key, done=True)
