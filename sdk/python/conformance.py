"""The filters that sdk/CONFORMANCE.md describes, in Python."""

import asyncio
import logging
import os
import pathlib
import threading
import time

import transom
from transom import REQUEST, RESPONSE, STOP, STOP_ALL


class Auth(transom.StreamFilter):
    """Refuses requests that lack a header of the configuration."""

    name = "auth"

    @classmethod
    def parse(cls, config):
        return config.map_of(transom.text())

    def request_headers(self, stream, end):
        if all(stream.request.get(name) == value for name, value in self.settings.items()):
            return None
        stream.reply(403, "denied\n", headers={"x-denied-by": "auth"}, details="auth_denied")
        return STOP


class Rewrite(transom.StreamFilter):
    """Writes bodies in capitals."""

    name = "rewrite"
    whole_request_body = 64 << 10
    changes_request_length = changes_response_length = True

    @classmethod
    def parse(cls, config):
        return config.read(suffix=transom.text("!"))

    def request_headers(self, stream, end):
        return None if end else STOP

    def request_body(self, stream, end):
        body = stream.body(REQUEST)
        stream.request.set("x-body-length", str(len(body)))
        stream.set_body(REQUEST, body.upper())

    def response_headers(self, stream, end):
        stream.response.set("x-rewritten", "yes")

    def response_body(self, stream, end):
        stream.set_body(RESPONSE, stream.body(RESPONSE).upper() + (self.settings.suffix.encode() if end else b""))


class Callout(transom.StreamFilter):
    """Asks another service whether a request may pass."""

    name = "callout"

    @classmethod
    def parse(cls, config):
        return config.read(cluster=transom.text())

    @classmethod
    def clusters(cls, settings):
        return [settings.cluster]

    async def request_headers(self, stream, end):
        token = {"x-token": stream.request.get("x-token", "")}
        try:
            answer = await stream.call(self.settings.cluster, "/check", authority="auth", headers=token, timeout=1)
        except transom.CalloutError:
            stream.reply(503, details="callout_failed")
            return STOP
        if answer.status != 200:
            stream.reply(403, details="callout_denied")
            return STOP
        stream.request.set("x-user", answer.headers.get("x-user", ""))
        return None


class Pause(transom.StreamFilter):
    """Holds requests for a time."""

    name = "pause"

    @classmethod
    def parse(cls, config):
        return config.read(ms=transom.integer(0, 60000))

    async def request_headers(self, stream, end):
        await stream.sleep(self.settings.ms / 1000)
        stream.request.set("x-paused", "yes")


class Thread(transom.StreamFilter):
    """Lets another thread decide when requests go on."""

    name = "thread"

    def request_headers(self, stream, end):
        def go(stream):
            stream.request.set("x-thread", "yes")
            stream.resume(REQUEST)

        def wait():
            time.sleep(0.005)
            stream.later(go)

        threading.Thread(target=wait).start()
        return STOP_ALL


class Notes(transom.StreamFilter):
    """Leaves notes everywhere, and counts visits in the host's shared data."""

    name = "notes"
    attributes = ["source.address"]

    @classmethod
    def prepare(cls, settings, use):
        settings.counter = use.counter("notes_total", "Requests noted.")

    async def request_headers(self, stream, end):
        path = stream.request.get(":path")
        stream.set_metadata("notes", "path", path)
        stream.set_metadata("notes", "length", len(path))
        stream.set_metadata("notes", "seen", True)
        stream.count(self.settings.counter)
        stream.log("info", f"noted {path}")
        stream.request.set("x-from", stream.attribute("source.address") or "")
        while True:
            value, version = await stream.shared_get("visits")
            visits = str(int(value or b"0") + 1)
            if await stream.shared_set("visits", visits.encode(), version):
                break
        stream.request.set("x-visits", visits)

    def response_headers(self, stream, end):
        return None

    def complete(self, stream):
        stream.set_metadata("notes", "status", stream.response.get(":status", ""))


class Faulty(transom.StreamFilter):
    """Breaks when it is asked to."""

    name = "faulty"

    def request_headers(self, stream, end):
        if stream.path == "/panic":
            raise RuntimeError("told to panic")
        if stream.path == "/fail":
            stream.fail("told to fail")
        if stream.path == "/log":
            logging.warning("told to log")


class Edit(transom.StreamFilter):
    """Changes headers and trailers."""

    name = "edit"

    @classmethod
    def parse(cls, config):
        return config.read(team=transom.text("none"))

    def request_headers(self, stream, end):
        headers = stream.request
        headers.remove("x-remove")
        headers.set("x-set", "a")
        headers.add("x-add", "1")
        headers.add("x-add", "2")
        headers.set("x-team", (stream.route_config or self.settings).team)

    def request_trailers(self, stream):
        stream.request_trailers.set("x-trailer", "yes")

    def response_headers(self, stream, end):
        stream.response.set("x-edited", "yes")


class Greet(transom.NetworkFilter):
    """Greets connections, shouts back, and ends with bye."""

    name = "greet"

    def new_connection(self, connection):
        connection.inject(RESPONSE, b"hello\n")

    def client_data(self, connection, end):
        if connection.bytes.startswith(b"bye"):
            connection.close()
            return STOP
        connection.bytes = connection.bytes.upper()
        return None


class Files(transom.CertificateProvider):
    """A certificate in files."""

    @classmethod
    def parse(cls, config):
        return config.read(chain=transom.text(), key=transom.text())

    async def certificate(self, server_name):
        chain = await asyncio.to_thread(pathlib.Path(self.settings.chain).read_bytes)
        key = await asyncio.to_thread(pathlib.Path(self.settings.key).read_bytes)
        return transom.Certificate(chain, key, refresh_after=3600)


class Lines:
    """A log in a file."""

    @classmethod
    def parse(cls, config):
        return config.read(file=transom.text())

    def append(self, lines, lost):
        with open(self.settings.file, "ab") as file:
            file.write(b"".join(line + b"\n" for line in ([b"lost %d" % lost] if lost else []) + lines))


class Entries(Lines, transom.AccessLog):
    attributes = ("request.method", "request.path", "response.code", "response.size")
    request_headers_seen = ("user-agent",)
    response_headers_seen = ("x-note",)

    async def log(self, entries, lost):
        lines = [
            " ".join([*(str(e.get(name, "-")) for name in self.attributes), e.request_header("user-agent", "-"), e.response_header("x-note", "-")])
            for e in entries
        ]
        await asyncio.to_thread(self.append, [line.encode() for line in lines], lost)


class Sink(Lines, transom.LogSink):
    def write(self, lines, lost):
        self.append(lines, lost)


if __name__ == "__main__":
    filters = [Auth, Rewrite, Callout, Pause, Thread, Notes, Faulty, Edit]
    if os.environ.get("TRANSOM_CONFORMANCE") == "auth":
        Auth.name = ""
        transom.Plugin("conformance", "1.0.0", filters=[Auth]).serve()
    transom.Plugin(
        "conformance", "1.0.0", filters=filters, network=[Greet], certificates=[Files], access_logs=[Entries], log_sinks=[Sink]
    ).serve()
