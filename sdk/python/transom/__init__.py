"""Plugins for the proxy Transom: filters of HTTP streams and of connections, certificate providers and logs, in a program of their own.

A filter is a class with one or more of the methods of `StreamFilter`; what it has no method for is not sent to it. One is made for each
stream, and its methods are called one at a time. They may be coroutines: while one waits, the stream waits at the host, and nothing else does.
"""

from transom.config import Config, Fault, boolean, integer, number, text
from transom.filter import (
    AFTER_CHOOSE_HOST,
    AFTER_ROUTE,
    BEFORE_ROUTE,
    CONTINUE,
    DROP,
    END_STREAM,
    REQUEST,
    RESPONSE,
    STOP,
    STOP_ALL,
    STOP_ALL_AND_BUFFER,
    STOP_AND_BUFFER,
    AccessLog,
    Certificate,
    CertificateProvider,
    LogEntry,
    LogSink,
    NetworkFilter,
    StreamFilter,
    Use,
)
from transom.headers import HeaderError, Headers
from transom.serve import Plugin
from transom.stream import CalloutError, Connection, Gone, Response, Stream
from transom.trial import Trial

__all__ = [
    "AFTER_CHOOSE_HOST", "AFTER_ROUTE", "BEFORE_ROUTE", "CONTINUE", "DROP", "END_STREAM", "REQUEST", "RESPONSE", "STOP", "STOP_ALL",
    "STOP_ALL_AND_BUFFER", "STOP_AND_BUFFER", "AccessLog", "CalloutError", "Certificate", "CertificateProvider", "Config", "Connection", "Fault", "Gone",
    "HeaderError", "Headers", "LogEntry", "LogSink", "NetworkFilter", "Plugin", "Response", "Stream", "StreamFilter", "Trial", "Use", "boolean", "integer", "number", "text",
]
