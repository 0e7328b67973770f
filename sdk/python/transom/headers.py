"""Header maps of messages."""

import re

from transom.plugin.v1 import action_pb2, http_pb2

# They belong to the codec: RFC 9110 section 7.6.1.
RESERVED = {"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
NAME = re.compile(r":?[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*\Z")


class HeaderError(Exception):
    """A header cannot be changed: it is not there yet, has left already, belongs to the proxy, or cannot be in a message."""


class Headers:
    """Names without regard to case, in their order, with doubles. The pseudo-headers (:method, :path, :authority, :scheme; :status) are among
    them and can be set; "host" means :authority. Values are text; bytes above 127 are read as Latin-1."""

    def __init__(self, ask, which):
        self._ask, self._which = ask, which
        self._fields = []
        self._there = self.released = False

    def get(self, name: str, default=None):
        """The first value."""
        name = canonical(name)
        for key, value in self._fields:
            if key.lower() == name:
                return value
        return default

    def get_all(self, name: str) -> list:
        """All values, in their order."""
        name = canonical(name)
        return [value for key, value in self._fields if key.lower() == name]

    def items(self) -> list:
        """All fields, in their order."""
        return list(self._fields)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def set(self, name: str, value: str):
        """Replaces all values by one, in the place of the first."""
        self._check(name, value)
        low = canonical(name)
        name = low if low.startswith(":") else name
        kept, placed = [], False
        for key, old in self._fields:
            if key.lower() != low:
                kept.append((key, old))
            elif not placed:
                kept.append((key, value))
                placed = True
        if not placed:
            kept.append((name, value))
        self._fields = kept
        self._change(set=[field(name, value)])

    def add(self, name: str, value: str):
        """Adds a value behind those that are there."""
        if canonical(name).startswith(":"):
            self.set(name, value)
            return
        self._check(name, value)
        self._fields.append((name, value))
        self._change(add=[field(name, value)])

    def remove(self, name: str):
        """Removes all values, also if they were not sent here."""
        self._check(name, "")
        low = canonical(name)
        if low.startswith(":"):
            raise HeaderError("a message needs its pseudo-headers")
        self._fields = [(key, value) for key, value in self._fields if key.lower() != low]
        self._change(remove=[name.encode()])

    def arrive(self, fields):
        """The host has sent them."""
        self._there, self.released = True, False
        self._fields = [(f.name.decode("latin-1"), f.value.decode("latin-1")) for f in fields]

    @property
    def there(self) -> bool:
        """Whether the message has them (by now)."""
        return self._there

    def _check(self, name: str, value: str):
        if self.released:
            raise HeaderError("the headers have left already")
        if not self._there:
            raise HeaderError("the message has no such headers")
        if name.lower() in RESERVED:
            raise HeaderError(f"{name} belongs to the proxy")
        if not NAME.match(name):
            raise HeaderError(f"{name!r} is no name of a header")
        if not VALUE.match(value) or value != value.strip(" \t"):
            raise HeaderError(f"{value!r} is no value of a header")

    def _change(self, **change):
        self._ask(action_pb2.Action(fields=action_pb2.ChangeFields(map=self._which, **change)))


def canonical(name: str) -> str:
    name = name.lower()
    return ":authority" if name == "host" else name


def field(name: str, value: str):
    return http_pb2.Field(name=name.encode("latin-1", "replace"), value=encode(value))


def encode(value: str) -> bytes:
    """Latin-1 where that can hold it, as it came; else UTF-8."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


def fields(pairs) -> list:
    """Pairs, or a dict, for the wire."""
    pairs = pairs.items() if isinstance(pairs, dict) else pairs
    return [field(name, value) for name, value in pairs]
