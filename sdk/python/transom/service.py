"""What a plugin answers to the control side: `transom.plugin.v1.Plugin` without its streams."""

import inspect

import grpc

from transom.config import Config, Fault
from transom.filter import AccessLog, LogEntry, Use, callbacks, network_callbacks
from transom.plugin.v1 import certificate_pb2, plugin_pb2 as pb
from transom.stream import from_wire
from transom.worker import REVISION, Worker


class Ready:
    """A use that is ready; or, with a fault, one that is not."""

    def __init__(self, cls=None, settings=None, clusters=(), fault=""):
        self.cls, self.settings, self.clusters, self.fault = cls, settings, tuple(clusters), fault
        self.provider = self.log = None
        self._routes = {}

    def route(self, data: bytes):
        if data not in self._routes:
            self._routes[data] = self.cls.parse_route(Config(data))
        return self._routes[data]


class Service:
    def __init__(self, plugin, defaults: bytes, level: int):
        self.plugin, self.defaults, self.level = plugin, defaults, level
        self.uses = {}

    def use(self, number) -> Ready:
        return self.uses.get(number) or Ready(fault=f"use {number} was not prepared")

    def find(self, kind, name):
        """The class of an extension, or None."""
        found = [cls for of, cls in self._all() if of == kind and name in ("", cls.name)]
        return found[0] if len(found) == 1 else None

    def _all(self):
        for kind, classes in (
            (pb.STREAM_FILTER, self.plugin.filters),
            (pb.NETWORK_FILTER, self.plugin.network),
            (pb.CERTIFICATE_PROVIDER, self.plugin.certificates),
            (pb.ACCESS_LOG, self.plugin.access_logs),
            (pb.LOG_SINK, self.plugin.log_sinks),
        ):
            for cls in classes:
                yield kind, cls

    async def found(self, subject, context):
        cls = self.find(subject.kind, subject.extension)
        if cls is None:
            known = [pb.Kind.Name(kind).lower() + (f" {cls.name!r}" if cls.name else "") for kind, cls in self._all()]
            kind = pb.Kind.Name(subject.kind).lower()
            text = f"this plugin has no {kind} named {subject.extension!r}; it has: {', '.join(known)}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        return cls

    def config(self, subject) -> Config:
        return Config(subject.config or self.defaults)

    async def describe(self, _request, _context):
        extensions = [
            pb.Extension(kind=kind, name=cls.name, phase=getattr(cls, "phase", 0), schema=cls.schema) for kind, cls in self._all()
        ]
        return pb.DescribeResponse(revision=REVISION, name=self.plugin.name, version=self.plugin.version, extensions=extensions)

    async def check(self, request, context):
        cls = await self.found(request.subject, context)
        try:
            config = self.config(request.subject)
            (cls.parse_route if request.route and hasattr(cls, "parse_route") else cls.parse)(config)
        except Exception as error:
            return pb.CheckResponse(faults=[fault_of(error)])
        return pb.CheckResponse()

    async def prepare(self, request, context):
        subject = request.subject
        cls = await self.found(subject, context)
        try:
            ready, needs = await self.ready(subject.kind, cls, subject.name, self.config(subject))
        except Exception as error:
            return pb.PrepareResponse(faults=[fault_of(error)])
        self.uses[subject.id] = ready
        return pb.PrepareResponse(needs=needs)

    async def ready(self, kind, cls, name, config):
        settings = cls.parse(config)
        if kind == pb.CERTIFICATE_PROVIDER:
            ready = Ready(cls, settings)
            ready.provider = cls(settings)
            # The first answer must be good: else the use is not ready.
            await certificate(ready.provider, "")
            return ready, pb.Needs()
        if kind in (pb.ACCESS_LOG, pb.LOG_SINK):
            ready = Ready(cls, settings)
            ready.log = cls(settings)
            if kind == pb.LOG_SINK:
                return ready, pb.Needs()
            headers = {
                "request_headers": [name.lower() for name in cls.request_headers_seen],
                "response_headers": [name.lower() for name in cls.response_headers_seen],
            }
            return ready, pb.Needs(attributes=cls.attributes, **headers)
        use = Use(name)
        prepared = cls.prepare(settings, use)
        if inspect.isawaitable(prepared):
            await prepared
        ready = Ready(cls, settings, cls.clusters(settings))
        needs = pb.Needs(attributes=cls.attributes, clusters=ready.clusters, metrics=use.metrics)
        if kind == pb.NETWORK_FILTER:
            needs.callbacks = network_callbacks(cls)
            return ready, needs
        needs.callbacks = callbacks(cls)
        needs.request_headers.extend(name.lower() for name in cls.request_headers_seen)
        needs.response_headers.extend(name.lower() for name in cls.response_headers_seen)
        needs.whole_request_body, needs.whole_response_body = cls.whole_request_body, cls.whole_response_body
        needs.buffer_limit = cls.buffer_limit
        return ready, needs

    async def release(self, request, _context):
        self.uses.pop(request.use_id, None)
        return pb.ReleaseResponse()

    async def certificate(self, request, context):
        provider = self.use(request.use_id).provider
        if provider is None:
            text = f"use {request.use_id} is no certificate provider of this plugin that is ready"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        try:
            given = await certificate(provider, request.server_name)
        except Exception as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        if given is None:
            return certificate_pb2.CertificateResponse()
        return certificate_pb2.CertificateResponse(
            certificate_chain=given.chain, private_key=given.key, client_authorities=given.client_authorities,
            refresh_after_ms=int(given.refresh_after * 1000),
        )

    async def work(self, messages, context):
        await Worker(self).serve(messages, context)

    async def log(self, batches, context):
        """The batches of one of the host's workers."""
        from transom.plugin.v1 import log_pb2

        count = 0
        async for batch in batches:
            log = self.use(batch.use_id).log
            if log is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"use {batch.use_id} is no log of this plugin that is ready")
            try:
                if isinstance(log, AccessLog):
                    entries = [LogEntry({name: from_wire(value) for name, value in entry.values.items()}) for entry in batch.entries]
                    done = log.log(entries, batch.lost)
                else:
                    done = log.write(list(batch.lines), batch.lost)
                if inspect.isawaitable(done):
                    await done
            except Exception as error:
                await context.abort(grpc.StatusCode.UNAVAILABLE, f"the log failed: {error}")
            count += len(batch.entries) + len(batch.lines)
        return log_pb2.LogSummary(entries=count)

    def handler(self):
        """The service, for a server."""
        from transom.plugin.v1 import log_pb2, work_pb2

        def unary(method, request, response):
            return grpc.unary_unary_rpc_method_handler(method, request.FromString, response.SerializeToString)

        return grpc.method_handlers_generic_handler(
            "transom.plugin.v1.Plugin",
            {
                "Describe": unary(self.describe, pb.DescribeRequest, pb.DescribeResponse),
                "Check": unary(self.check, pb.CheckRequest, pb.CheckResponse),
                "Prepare": unary(self.prepare, pb.PrepareRequest, pb.PrepareResponse),
                "Release": unary(self.release, pb.ReleaseRequest, pb.ReleaseResponse),
                "Certificate": unary(self.certificate, certificate_pb2.CertificateRequest, certificate_pb2.CertificateResponse),
                "Work": grpc.stream_stream_rpc_method_handler(
                    self.work, work_pb2.ToPlugin.FromString, work_pb2.ToHost.SerializeToString
                ),
                "Log": grpc.stream_unary_rpc_method_handler(self.log, log_pb2.LogBatch.FromString, log_pb2.LogSummary.SerializeToString),
            },
        )


async def certificate(provider, server_name):
    given = provider.certificate(server_name)
    return await given if inspect.isawaitable(given) else given


def fault_of(error) -> pb.ConfigFault:
    """What the host is told of any error."""
    if isinstance(error, Fault):
        return pb.ConfigFault(path=error.path, message=error.message)
    return pb.ConfigFault(message=str(error) or type(error).__name__)
