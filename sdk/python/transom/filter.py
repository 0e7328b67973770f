"""What a plugin can have: filters of streams and connections, certificate providers."""

from dataclasses import dataclass

from transom.plugin.v1 import plugin_pb2 as pb

# The answers of callbacks; a method that returns nothing lets it go on.
CONTINUE = 0
# Headers (or trailers, a connection's bytes) wait here. Of headers, body and trailers still come to this filter.
STOP = 1
# Headers go on as the whole message.
END_STREAM = 2
# All waits here, up to the filter's limit.
STOP_ALL_AND_BUFFER = 3
# All waits here; at the watermark the sender is no longer read.
STOP_ALL = 4
# Of a body: it is kept, and the next call shows it together with what has come.
STOP_AND_BUFFER = 1
# Of a body: what was shown is gone.
DROP = 3

REQUEST, RESPONSE = 0, 1
BEFORE_ROUTE, AFTER_ROUTE, AFTER_CHOOSE_HOST = 0, 1, 2


class StreamFilter:
    """A filter of one stream. A subclass has the methods that it needs, which may be coroutines; the others are not called."""

    # What `extension:` of a use says; empty for the plugin's only one.
    name = ""
    # Where the request's callbacks run, unless the use says so.
    phase = BEFORE_ROUTE
    # The JSON schema of the configuration, as text.
    schema = ""
    # Attributes that the filter looks at; what follows from the messages need not be named.
    attributes = ()
    # The only headers that it looks at; none for all.
    request_headers_seen = ()
    response_headers_seen = ()
    # Bodies come whole, up to so many bytes; 0: in pieces.
    whole_request_body = 0
    whole_response_body = 0
    # What a stop verdict may keep; 0: the host's 1 MiB.
    buffer_limit = 0
    # The filter may change the length of bodies.
    changes_request_length = False
    changes_response_length = False

    @classmethod
    def parse(cls, config):
        """Reads a configuration (`Config`); what it gives is `settings`. Touches nothing outside, for `transom check` calls it too."""
        return config.read()

    @classmethod
    def parse_route(cls, config):
        """Reads the configuration of a route, which `Stream.route_config` gives; by default as the use's own."""
        return cls.parse(config)

    @classmethod
    def clusters(cls, settings):
        """The clusters that callouts may go to."""
        return ()

    @classmethod
    def prepare(cls, settings, use):
        """Makes a use ready, once: defines metrics by `use`."""

    def __init__(self, settings):
        self.settings = settings

    def request_headers(self, stream, end):
        """The request's headers have come; `end`: they are all of it."""

    def request_body(self, stream, end):
        """A part of the request's body has come: `stream.body(REQUEST)`."""

    def request_trailers(self, stream):
        """The request's trailers have come."""

    def response_headers(self, stream, end):
        """The response's headers have come."""

    def response_body(self, stream, end):
        """A part of the response's body has come."""

    def response_trailers(self, stream):
        """The response's trailers have come."""

    def reset(self, stream, reason):
        """The stream ended before its time: 0 by the client, 1 by the host, 2 by a filter or the proxy, 3 in time."""

    def complete(self, stream):
        """The stream is over, well or not; the access log follows."""


class NetworkFilter:
    """A filter of one connection. A subclass has the methods that it needs."""

    name = ""
    schema = ""
    attributes = ()

    parse = StreamFilter.__dict__["parse"]
    clusters = StreamFilter.__dict__["clusters"]
    prepare = StreamFilter.__dict__["prepare"]

    def __init__(self, settings):
        self.settings = settings

    def new_connection(self, connection):
        """The connection has begun; nothing is read before this answers."""

    def client_data(self, connection, end):
        """Bytes of the client have come: `connection.bytes`."""

    def host_data(self, connection, end):
        """Bytes for the client have come."""

    def closed(self, connection, by):
        """The connection is over."""


@dataclass
class Certificate:
    """A certificate with its key, as PEM."""

    chain: bytes
    key: bytes
    # Authorities of clients' certificates.
    client_authorities: bytes = b""
    # Seconds until it is asked for again; 0: until it ends.
    refresh_after: float = 0


class CertificateProvider:
    """A source of certificates."""

    name = ""
    schema = ""

    parse = StreamFilter.__dict__["parse"]

    def __init__(self, settings):
        self.settings = settings

    def certificate(self, server_name):
        """The `Certificate` for the name that a client asks for, or None; for "" (asked first) there must be one. May be a coroutine."""
        raise NotImplementedError


class AccessLog:
    """An access log that the plugin keeps."""

    name = ""
    schema = ""
    # What entries have; nothing else is sent.
    attributes = ()
    request_headers_seen = ()
    response_headers_seen = ()

    parse = StreamFilter.__dict__["parse"]

    def __init__(self, settings):
        self.settings = settings

    def log(self, entries, lost):
        """Takes a batch: entries (`LogEntry`) of one of the host's workers in their order; `lost` were dropped before them, because this plugin
        was slow or away. Until it returns the host keeps what follows, and then drops the oldest. May be a coroutine; what blocks holds the
        plugin's streams up (`asyncio.to_thread`). An exception ends the worker's call, and the host begins another."""
        raise NotImplementedError


class LogSink:
    """A log that the plugin keeps for the host."""

    name = ""
    schema = ""

    parse = StreamFilter.__dict__["parse"]

    def __init__(self, settings):
        self.settings = settings

    def write(self, lines, lost):
        """Takes a batch of lines, bytes without line feeds. As `AccessLog.log` in all else."""
        raise NotImplementedError


class LogEntry:
    """A stream or connection that is over."""

    def __init__(self, values):
        self._values = values

    def get(self, name, default=None):
        """An attribute that was asked for, if it was known."""
        return self._values.get(name, default)

    def request_header(self, name, default=None):
        """A header that was asked for, by its name in lower case."""
        return self._values.get("request.headers", {}).get(name, default)

    def response_header(self, name, default=None):
        """A header that was asked for, by its name in lower case."""
        return self._values.get("response.headers", {}).get(name, default)


class Use:
    """A use that is made ready: it defines metrics, whose numbers `Stream.count` and `observe` take."""

    def __init__(self, name):
        self.name = name
        self.metrics = []

    def counter(self, name, help, **labels):
        """A metric that only grows; by habit its name ends in _total."""
        return self._define(pb.Metric.COUNTER, name, help, labels)

    def gauge(self, name, help, **labels):
        """A metric that grows and shrinks."""
        return self._define(pb.Metric.GAUGE, name, help, labels)

    def histogram(self, name, help, **labels):
        """A metric of durations, in seconds; by habit its name ends in _seconds."""
        return self._define(pb.Metric.HISTOGRAM, name, help, labels)

    def distribution(self, name, help, **labels):
        """A metric of plain numbers."""
        return self._define(pb.Metric.DISTRIBUTION, name, help, labels)

    def _define(self, kind, name, help, labels):
        self.metrics.append(pb.Metric(type=kind, name=name, help=help, labels=labels))
        return len(self.metrics) - 1


def has(cls, base, method: str) -> bool:
    """Whether a filter has a method of its own."""
    return getattr(cls, method) is not getattr(base, method)


def callbacks(cls) -> int:
    """The bits of a filter's callbacks. Headers are asked for with what follows them, because filters read them at any time."""
    methods = ["request_headers", "request_body", "request_trailers", "response_headers", "response_body", "response_trailers", "complete"]
    bits = sum(1 << bit for bit, method in enumerate(methods) if has(cls, StreamFilter, method))
    if cls.whole_request_body:
        bits |= 2
    if cls.whole_response_body:
        bits |= 16
    if bits & (16 | 32):
        bits |= 8
    if bits & (2 | 4 | 8 | 64):
        bits |= 1
    return bits | (128 if cls.changes_request_length else 0) | (256 if cls.changes_response_length else 0)


def network_callbacks(cls) -> int:
    """The bits of a network filter's callbacks."""
    return (2 if has(cls, NetworkFilter, "client_data") else 0) | (16 if has(cls, NetworkFilter, "host_data") else 0)
