"""Streams and connections, as filters see them."""

import asyncio
import inspect
import math
import traceback

from transom.filter import NetworkFilter, StreamFilter, has
from transom.headers import Headers, fields
from transom.plugin.v1 import action_pb2, http_pb2, work_pb2

LEVELS = {"trace": 0, "debug": 1, "info": 2, "warn": 3, "error": 4}


class Gone(Exception):
    """The stream or connection ended while a filter waited. It may be left to itself."""


class CalloutError(Exception):
    """A callout was not answered; `kind` says why: NOT_ALLOWED, NO_CLUSTER, UNSUPPORTED, BAD_REQUEST, UNAVAILABLE, CALLOUT_TIMEOUT, RESET, TOO_LARGE."""

    def __init__(self, kind: str):
        self.kind = kind
        super().__init__(f"the callout was not answered: {kind}")


class Response:
    """The answer to a callout. Of a gRPC call the body is the encoded message, and the trailers have grpc-status."""

    def __init__(self, message):
        self.headers = Headers(None, 0)
        self.headers.arrive(message.headers)
        self.trailers = Headers(None, 0)
        self.trailers.arrive(message.trailers)
        self.body = message.body
        self.status = int(self.headers.get(":status", "0"))


class Flow:
    """What streams and connections have in common: they ask for things, and wait for what comes of it."""

    def __init__(self, number, port, use, level, attributes):
        self._id, self._port, self._use, self._level = number, port, use, level
        self._attributes = {name: from_wire(value) for name, value in attributes.items()}
        self._actions = []
        self._filter = None
        self._failed = False
        # The callback that was not answered yet, and the verdict that answers it when its code begins to wait (None: nothing does).
        self._callback, self._early = 0, None
        self._running = None
        self._last = 0
        self._waits, self._shared = {}, []
        self._over = False

    def attribute(self, name):
        """What the host knows, if the filter names it in `attributes`; else None."""
        return self._attributes.get(name)

    def set_metadata(self, namespace, key, value):
        """Dynamic metadata, for later filters and the access log: None, a bool, number, text, bytes, list or dict."""
        self._ask(action_pb2.Action(metadata=action_pb2.SetMetadata(namespace=namespace, key=key, value=to_wire(value))))

    def log(self, level, message):
        """Writes a line into the host's log: "trace", "debug", "info", "warn" or "error"."""
        if LEVELS[level] >= self._level:
            self._ask(action_pb2.Action(log=action_pb2.Log(level=LEVELS[level], message=message)))

    def count(self, metric, amount=1):
        """Adds to a counter or gauge, or records a number in a distribution."""
        self._ask(action_pb2.Action(metric=action_pb2.CountMetric(metric=metric, amount=amount)))

    def observe(self, metric, seconds):
        """Records a duration in a histogram."""
        self.count(metric, int(seconds * 1e9))

    def add_response_flag(self, letters):
        """Adds a response flag, such as UAEX."""
        self._ask(action_pb2.Action(response_flag=letters))

    def fail(self, text):
        """Reports that the plugin failed here: the use's failure policy holds, and the filter is not called again."""
        self._failed = True
        self._ask(action_pb2.Action(fail=text))

    async def call(self, cluster, path, *, method="GET", authority, headers=(), body=b"", timeout=0):
        """Asks a cluster of the host's that `clusters` names; gives its `Response`, or raises `CalloutError`. `timeout` in seconds; 0: 5 s."""
        pairs = headers.items() if isinstance(headers, dict) else headers
        all_fields = fields([(":method", method), (":path", path), (":authority", authority), *pairs])
        call = action_pb2.HttpCall(cluster=cluster, headers=all_fields, body=body, timeout_ms=milliseconds(timeout))
        return await self._callout(call, lambda: action_pb2.Action(http_call=call))

    async def call_grpc(self, cluster, service, method, message, *, metadata=(), timeout=0):
        """Makes a unary gRPC call with an encoded message."""
        call = action_pb2.GrpcCall(
            cluster=cluster, service=service, method=method, message=message, metadata=fields(metadata), timeout_ms=milliseconds(timeout)
        )
        return await self._callout(call, lambda: action_pb2.Action(grpc_call=call))

    async def sleep(self, seconds):
        """Waits by the host's clock."""
        self._last += 1
        timer = action_pb2.SetTimer(timer=self._last, after_ms=milliseconds(seconds))
        await self._wait(self._last, action_pb2.Action(timer=timer))

    async def run(self, function, *arguments):
        """Runs code that blocks on another thread, and waits for what it gives."""
        return await asyncio.to_thread(function, *arguments)

    async def shared_get(self, key):
        """A value of the host's shared data (None if there is none), and its version."""
        result = await self._ask_shared(action_pb2.Shared(get=key))
        return (result.value if result.HasField("value") else None), result.version

    async def shared_set(self, key, value, version=None):
        """Sets (or, with None, removes) a value; with `version` only if what is there has that one (0: if nothing is there). Says whether it was done."""
        result = await self._ask_shared(action_pb2.Shared(set=action_pb2.SharedSet(key=key, value=value, version=version)))
        return result.done

    def _ask(self, action):
        self._actions.append(action)

    async def _callout(self, call, action):
        if call.cluster not in self._use.clusters:
            raise CalloutError("NOT_ALLOWED")
        self._last += 1
        call.callout = self._last
        done = (await self._wait(self._last, action())).callout
        if done.HasField("response"):
            return Response(done.response)
        raise CalloutError(action_pb2.CalloutError.Name(done.error) if done.HasField("error") else "UNAVAILABLE")

    async def _ask_shared(self, shared):
        future = asyncio.get_running_loop().create_future()
        self._shared.append(future)
        self._ask(action_pb2.Action(shared=shared))
        return (await self._until(future)).shared

    async def _wait(self, number, action):
        future = asyncio.get_running_loop().create_future()
        self._waits[number] = future
        self._ask(action)
        return await self._until(future)

    async def _until(self, future):
        if self._over:
            raise Gone()
        self._begin()
        return await future

    def _begin(self):
        """The callback's code waits: the host is told what it asked for so far."""
        if self._callback and self._early is not None:
            callback, self._callback = self._callback, 0
            self._port.answer(self._id, callback, self._early, self._take())
        else:
            self._flush()

    def _flush(self):
        if self._actions and not self._over:
            self._port.actions(self._id, self._take())
        self._actions = []

    def _take(self):
        actions, self._actions = self._actions, []
        return actions

    def happened(self, event):
        """Hands an event to who waits for it."""
        kind = event.WhichOneof("event")
        future = None
        if kind == "timer":
            future = self._waits.pop(event.timer, None)
        elif kind == "callout":
            future = self._waits.pop(event.callout.callout, None)
        elif kind == "shared" and self._shared:
            future = self._shared.pop(0)
        if future is not None and not future.done():
            future.set_result(event)

    def end_waits(self):
        """The stream or connection is over: whatever waits ends."""
        self._over = True
        for future in [*self._waits.values(), *self._shared]:
            if not future.done():
                future.set_exception(Gone())
        self._waits, self._shared = {}, []

    def _callback_of(self, callback, early, method, arguments, finish):
        """Runs a callback: at once if nothing of the stream waits, else behind it. `finish(verdict, late)` comes after it."""
        if self._running is None:
            self._start(callback, early, method, arguments, finish)
            return
        before = self._running

        async def behind():
            await asyncio.wait([before])
            self._start(callback, early, method, arguments, finish)
            if self._running is not None and self._running is not task:
                await asyncio.wait([self._running])

        task = asyncio.ensure_future(behind())
        self._running = task
        task.add_done_callback(self._ran)

    def _start(self, callback, early, method, arguments, finish):
        self._callback, self._early = callback, early
        verdict = 0
        if method is not None and not self._failed:
            try:
                verdict = method(*arguments)
            except Exception as error:
                self._panicked(error)
        if not inspect.isawaitable(verdict):
            finish(verdict or 0, False)
            return

        async def code(verdict=verdict):
            try:
                given = await verdict
            except Gone:
                given = 1
            except Exception as error:
                self._panicked(error)
                given = 0
            finish(given or 0, callback != 0 and self._callback == 0)

        task = asyncio.ensure_future(code())
        self._running = task
        task.add_done_callback(self._ran)
        # Runs behind the task's first step: code that waits for something else than the host waits no less.
        asyncio.get_running_loop().call_soon(lambda: None if task.done() or self._over else self._begin())

    def _ran(self, task):
        if self._running is task:
            self._running = None
        if not task.cancelled() and task.exception() is not None:
            traceback.print_exception(task.exception())

    def _panicked(self, error):
        if isinstance(error, Gone):
            return
        self.fail(f"the filter raised {type(error).__name__}: {error}")


class Stream(Flow):
    """A request and its response."""

    def __init__(self, number, port, use, level, begin):
        super().__init__(number, port, use, level, begin.attributes)
        maps = action_pb2.HeaderMap
        self.request = Headers(self._ask, maps.REQUEST_HEADERS)
        self.response = Headers(self._ask, maps.RESPONSE_HEADERS)
        self.request_trailers = Headers(self._ask, maps.REQUEST_TRAILERS)
        self.response_trailers = Headers(self._ask, maps.RESPONSE_TRAILERS)
        self.route_config = None
        self._bodies = [None, None]
        self._changed = False
        if use.fault:
            self.fail(use.fault)
            return
        try:
            self._filter = use.cls(use.settings)
            if begin.route_config:
                self.route_config = use.route(begin.route_config)
        except Exception as error:
            self._panicked(error)

    @property
    def path(self) -> str:
        """The request's path without its query."""
        return self.request.get(":path", "").split("?", 1)[0]

    def body(self, direction) -> bytes:
        """What this call shows of a body."""
        return self._bodies[direction] or b""

    def set_body(self, direction, data: bytes):
        """Replaces what this call shows. Who changes its length says so: `changes_request_length`, `changes_response_length`."""
        if self._bodies[direction] is None:
            raise ValueError("no body is shown here")
        if len(data) != len(self._bodies[direction]):
            headers = self.response if direction else self.request
            may = self._use.cls.changes_response_length if direction else self._use.cls.changes_request_length
            if "content-length" in headers and not may:
                self.fail("it changed the length of a body without saying so")
                raise ValueError("the body's length was announced already")
        self._bodies[direction] = bytes(data)
        self._changed = True

    def reply(self, status, body=b"", *, headers=(), details="", grpc_status=None):
        """Answers the request here: it does not go on. `details` says why in a word, for the access log."""
        body = body.encode() if isinstance(body, str) else body
        reply = http_pb2.LocalReply(status=status, headers=fields(headers), body=body, details=details, grpc_status=grpc_status)
        self._ask(action_pb2.Action(local_reply=reply))

    def resume(self, direction):
        """Lets go what waits here after a stop verdict."""
        (self.response if direction else self.request).released = True
        self._ask(action_pb2.Action(resume=direction))

    def later(self, function):
        """Runs `function(stream)` from any thread, when no method runs. It does nothing when the stream is gone."""

        def run():
            if not self._over:
                self._callback_of(0, None, function, (self,), lambda verdict, late: self._flush())

        self._port.loop.call_soon_threadsafe(run)

    def inject(self, direction, data, end=False):
        """Sends bytes of the filter's own on from here."""
        self._ask(action_pb2.Action(inject=action_pb2.Inject(direction=direction, data=data, end=end)))

    def hold_back(self, direction, hold):
        """Stops, or takes up again, reading the sender of a direction."""
        self._ask(action_pb2.Action(hold_back=action_pb2.HoldBack(direction=direction, hold=hold)))

    def terminate(self):
        """Ends the stream without an answer."""
        self._ask(action_pb2.Action(terminate=action_pb2.Unit()))

    def skip_phase(self):
        """Skips the filters behind this one in its request phase."""
        self._ask(action_pb2.Action(skip_phase=action_pb2.Unit()))

    def clear_route(self):
        """Has later filters and the router look for the route anew."""
        self._ask(action_pb2.Action(clear_route=action_pb2.Unit()))

    def rematch_route(self):
        """Looks for the route again and calls this filter again (phase AFTER_ROUTE)."""
        self._ask(action_pb2.Action(rematch_route=action_pb2.Unit()))

    def rechoose_host(self):
        """Chooses a host again and calls this filter again (phase AFTER_CHOOSE_HOST)."""
        self._ask(action_pb2.Action(rechoose_host=action_pb2.Unit()))

    def headers_arrive(self, callback, message):
        direction = message.direction
        headers = self.response if direction else self.request
        headers.arrive(message.fields)
        method = self._method("response_headers" if direction else "request_headers")
        finish = lambda verdict, late: self._finish(direction, verdict, late, verdict in (0, 2))  # noqa: E731
        self._callback_of(callback, 4, method, (self, message.end), finish)

    def data_arrives(self, callback, message):
        direction = message.direction
        trailers = self.response_trailers if direction else self.request_trailers

        def start(*_):
            self._bodies[direction], self._changed = message.data, False
            if message.end and not trailers.there:
                trailers.arrive([])
            method = self._method("response_body" if direction else "request_body")
            return method(self, message.end) if method else None

        def finish(verdict, late):
            if self._changed:
                self._ask(action_pb2.Action(body=action_pb2.ReplaceBody(direction=direction, data=self._bodies[direction])))
            self._bodies[direction], self._changed = None, False
            self._finish(direction, verdict, late, verdict == 0)

        # The host cannot be given another body later than with the answer.
        self._callback_of(callback, None, start, (), finish)

    def trailers_arrive(self, callback, message):
        direction = message.direction
        (self.response_trailers if direction else self.request_trailers).arrive(message.fields)
        method = self._method("response_trailers" if direction else "request_trailers")
        finish = lambda verdict, late: self._finish(direction, verdict, late, verdict == 0)  # noqa: E731
        self._callback_of(callback, 1, method, (self,), finish)

    def ends(self, callback, reset, attributes=None):
        """The end; without a callback's number nobody waits for an answer."""
        self.end_waits()
        for name, value in (attributes or {}).items():
            self._attributes[name] = from_wire(value)

        def last(*_):
            if reset is not None and self._method("reset"):
                self._filter.reset(self, reset)
            if callback and self._method("complete"):
                return self._filter.complete(self)
            return None

        def finish(_verdict, _late):
            if callback:
                self._port.answer(self._id, callback, 0, self._take())

        self._callback_of(callback, None, last, (), finish)

    def _method(self, name):
        if self._filter is None or not has(type(self._filter), StreamFilter, name):
            return None
        return getattr(self._filter, name)

    def _finish(self, direction, verdict, late, goes):
        if not late:
            if goes:
                (self.response if direction else self.request).released = True
            callback, self._callback = self._callback, 0
            self._port.answer(self._id, callback, int(verdict), self._take())
            return
        ended = any(action.WhichOneof("action") in ("local_reply", "terminate", "fail") for action in self._actions)
        if goes and not ended and not self._failed:
            self.resume(direction)
        self._flush()


class Connection(Flow):
    """A connection. `bytes` are those that a call shows; they may be replaced."""

    def __init__(self, number, port, use, level, begin):
        super().__init__(number, port, use, level, begin.attributes)
        self.bytes = b""
        if use.fault:
            self.fail(use.fault)
            return
        try:
            self._filter = use.cls(use.settings)
        except Exception as error:
            self._panicked(error)

    def inject(self, direction, data, end=False):
        """Sends bytes of the filter's own on from here: towards the host (REQUEST) or the client (RESPONSE)."""
        self._ask(action_pb2.Action(inject=action_pb2.Inject(direction=direction, data=data, end=end)))

    def resume(self, direction):
        """Lets go what waits here after STOP."""
        self._ask(action_pb2.Action(resume=direction))

    def choose_cluster(self, cluster):
        """Has the tcp_proxy at the chain's end take this cluster, one of `clusters`."""
        self._ask(action_pb2.Action(choose_cluster=cluster))

    def close(self):
        """Ends the connection after what was written has left."""
        self._ask(action_pb2.Action(terminate=action_pb2.Unit()))

    def reset(self):
        """Ends the connection at once."""
        self._ask(action_pb2.Action(reset=action_pb2.Unit()))

    def begins(self, callback):
        def finish(verdict, late):
            if not late:
                current, self._callback = self._callback, 0
                self._port.answer(self._id, current, int(verdict), self._take())
                return
            if verdict == 0 and not self._failed:
                self.resume(0)
            self._flush()

        self._callback_of(callback, 1, self._method("new_connection"), (self,), finish)

    def bytes_arrive(self, callback, message):
        method = self._method("host_data" if message.direction else "client_data")

        def start(*_):
            self.bytes = message.data
            return method(self, message.end) if method else None

        def finish(verdict, late):
            if self.bytes != message.data:
                self._ask(action_pb2.Action(body=action_pb2.ReplaceBody(direction=message.direction, data=self.bytes)))
            current, self._callback = self._callback, 0
            self._port.answer(self._id, current, int(verdict), self._take())

        self._callback_of(callback, None, start, (), finish)

    def ends(self, by):
        self.end_waits()
        self._callback_of(0, None, self._method("closed"), (self, by), lambda verdict, late: None)

    def _method(self, name):
        if self._filter is None or not has(type(self._filter), NetworkFilter, name):
            return None
        return getattr(self._filter, name)


def milliseconds(seconds) -> int:
    return max(0, math.ceil(seconds * 1000))


def to_wire(value):
    """A value for the wire."""
    if isinstance(value, bool):
        return http_pb2.Value(boolean=value)
    if isinstance(value, int):
        return http_pb2.Value(integer=value)
    if isinstance(value, float):
        return http_pb2.Value(number=value)
    if isinstance(value, str):
        return http_pb2.Value(text=value)
    if isinstance(value, bytes):
        return http_pb2.Value(bytes=value)
    if isinstance(value, dict):
        return http_pb2.Value(map=http_pb2.ValueMap(values={str(key): to_wire(item) for key, item in value.items()}))
    if isinstance(value, (list, tuple)):
        return http_pb2.Value(list=http_pb2.ValueList(values=[to_wire(item) for item in value]))
    return http_pb2.Value()


def from_wire(value):
    """A value from the wire."""
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "list":
        return [from_wire(item) for item in value.list.values]
    if kind == "map":
        return {key: from_wire(item) for key, item in value.map.values.items()}
    return getattr(value, kind)


def headers_message(direction, pairs, end):
    """For trials and calls: headers as the host sends them."""
    return work_pb2.Headers(direction=direction, fields=fields(pairs), end=end)
