"""One worker of the host: all its streams and connections, and what is said to it, within its credit."""

import asyncio
from collections import deque

from transom.plugin.v1 import work_pb2
from transom.stream import Connection, Stream

# Callbacks, and bytes of bodies, that the host may have under way.
MESSAGES, BYTES = 8192, 16 << 20
REVISION = 1


class Worker:
    def __init__(self, service):
        self.service = service
        self.loop = asyncio.get_running_loop()
        self.streams, self.connections = {}, {}
        self.out = asyncio.Queue()
        self.messages = self.bytes = 0
        self.waiting = deque()
        self.used_messages = self.used_bytes = 0

    async def serve(self, messages, context):
        """Until the host ends the stream or is gone."""
        credit = work_pb2.Credit(messages=MESSAGES, bytes=BYTES)
        self.out.put_nowait(work_pb2.ToHost(hello=work_pb2.Hello(revision=REVISION, credit=credit)))
        writer = asyncio.ensure_future(self._write(context))
        try:
            async for message in messages:
                self._receive(message)
        finally:
            writer.cancel()
            for flow in [*self.streams.values(), *self.connections.values()]:
                flow.end_waits()

    async def _write(self, context):
        while True:
            await context.write(await self.out.get())

    def _receive(self, message):
        number, callback = message.stream, message.callback
        kind = message.WhichOneof("message")
        if callback:
            self.used_messages += 1
            if kind in ("data", "bytes"):
                self.used_bytes += len(getattr(message, kind).data)
            self._grant()
        if kind == "headers" and message.headers.HasField("begin"):
            self._begin(number, message.headers.begin)
        if kind == "hello":
            self._granted(message.hello.credit)
        elif kind == "credit":
            self._granted(message.credit)
        elif kind == "stream_begin":
            self._begin(number, message.stream_begin)
        elif kind == "connection_begin":
            begin = message.connection_begin
            connection = Connection(number, self, self.service.use(begin.use_id), self.service.level, begin)
            self.connections[number] = connection
            connection.begins(callback)
        elif number in self.streams:
            self._stream(self.streams[number], callback, kind, message)
        elif number in self.connections:
            self._connection(self.connections[number], callback, kind, message)

    def _begin(self, number, begin):
        self.streams[number] = Stream(number, self, self.service.use(begin.use_id), self.service.level, begin)

    def _stream(self, stream, callback, kind, message):
        if kind == "headers":
            stream.headers_arrive(callback, message.headers)
        elif kind == "data":
            stream.data_arrives(callback, message.data)
        elif kind == "trailers":
            stream.trailers_arrive(callback, message.trailers)
        elif kind == "complete":
            del self.streams[message.stream]
            complete = message.complete
            stream.ends(callback, complete.reset if complete.HasField("reset") else None, complete.attributes)
        elif kind == "gone":
            del self.streams[message.stream]
            stream.ends(0, message.gone.reason if message.gone.HasField("reason") else None)
        else:
            if kind == "event":
                stream.happened(message.event)
            if callback:
                self.answer(message.stream, callback, 0, ())

    def _connection(self, connection, callback, kind, message):
        if kind == "bytes":
            connection.bytes_arrive(callback, message.bytes)
        elif kind in ("closed", "gone"):
            del self.connections[message.stream]
            connection.ends(message.closed.by)
        else:
            if kind == "event":
                connection.happened(message.event)
            if callback:
                self.answer(message.stream, callback, 0, ())

    def answer(self, number, callback, verdict, actions):
        answer = work_pb2.Answer(actions=actions, verdict=verdict)
        self._say(work_pb2.ToHost(stream=number, callback=callback, answer=answer), actions)

    def actions(self, number, actions):
        self._say(work_pb2.ToHost(stream=number, actions=work_pb2.Actions(actions=actions)), actions)

    def _say(self, message, actions):
        cost = sum(map(cost_of, actions))
        if self.waiting or self.messages == 0 or self.bytes <= 0:
            self.waiting.append((message, cost))
        else:
            self._send(message, cost)

    def _send(self, message, cost):
        self.messages -= 1
        self.bytes -= cost
        self.out.put_nowait(message)

    def _granted(self, credit):
        self.messages += credit.messages
        self.bytes += credit.bytes
        while self.waiting and self.messages > 0 and self.bytes > 0:
            self._send(*self.waiting.popleft())
        self._grant()

    def _grant(self):
        """Gives back what the host has used, a half at a time. Not while answers wait, so that what waits has a bound."""
        if not self.waiting and (self.used_messages >= MESSAGES // 2 or self.used_bytes >= BYTES // 2):
            credit = work_pb2.Credit(messages=self.used_messages, bytes=self.used_bytes)
            self.used_messages = self.used_bytes = 0
            self.out.put_nowait(work_pb2.ToHost(credit=credit))


def cost_of(action) -> int:
    """What an action takes of the credit in bytes."""
    kind = action.WhichOneof("action")
    if kind == "body":
        return len(action.body.data)
    if kind == "inject":
        return len(action.inject.data)
    if kind == "local_reply":
        return len(action.local_reply.body)
    if kind == "http_call":
        return len(action.http_call.body)
    if kind == "grpc_call":
        return len(action.grpc_call.message)
    if kind == "shared":
        return len(action.shared.set.value)
    return 0
