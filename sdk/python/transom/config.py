"""Configurations: JSON of the host's, and mistakes with the way to their value."""

import json
import types

MISSING = object()


class Fault(Exception):
    """A mistake in a configuration. The host shows it at its line: `path` is the way to the value, keys and (for lists) numbers."""

    def __init__(self, path, message: str):
        self.path = [str(step) for step in ([path] if isinstance(path, str) else path)]
        self.message = message
        super().__init__(f"{'.'.join(self.path)}: {message}" if self.path else message)


class _Reader:
    """How a value is read: from a value and its path to what the filter wants."""

    def __init__(self, read, default):
        self.read, self.default = read, default


def text(default=MISSING):
    """Text; must be there without a default."""

    def read(value, path):
        if not isinstance(value, str):
            raise Fault(path, f"expected text, found {shown(value)}")
        return value

    return _Reader(read, default)


def boolean(default=MISSING):
    """true or false."""

    def read(value, path):
        if not isinstance(value, bool):
            raise Fault(path, f"expected true or false, found {shown(value)}")
        return value

    return _Reader(read, default)


def integer(low=None, high=None, default=MISSING):
    """A whole number within bounds."""

    def read(value, path):
        if not isinstance(value, int) or isinstance(value, bool):
            raise Fault(path, f"expected a whole number, found {shown(value)}")
        if (low is not None and value < low) or (high is not None and value > high):
            raise Fault(path, f"expected a number from {low} to {high}, found {value}")
        return value

    return _Reader(read, default)


def number(default=MISSING):
    """A number."""

    def read(value, path):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise Fault(path, f"expected a number, found {shown(value)}")
        return value

    return _Reader(read, default)


class Config:
    """A configuration as the host gives it."""

    def __init__(self, data: bytes):
        if not data.strip():
            self.value = None
            return
        try:
            self.value = json.loads(data)
        except ValueError as error:
            raise Fault([], f"the configuration is no JSON: {error}") from None

    def read(self, **keys):
        """Reads a map whose keys are known: `config.read(prefix=text(), retries=integer(0, 5, default=1))`. Nothing at all is an empty map, and
        a key that is not named here is refused."""
        entries = self._entries()
        for name in entries:
            if name not in keys:
                raise Fault([name], f"unknown key `{name}`; known keys: {', '.join(keys) or 'none'}")
        values = {}
        for name, reader in keys.items():
            if entries.get(name) is not None:
                values[name] = reader.read(entries[name], [name])
            elif reader.default is MISSING:
                raise Fault([], f"the key `{name}` is missing")
            else:
                values[name] = reader.default
        return types.SimpleNamespace(**values)

    def map_of(self, reader=None) -> dict:
        """Reads a map with any keys to values of one kind; text unless said."""
        reader = reader or text()
        return {name: reader.read(value, [name]) for name, value in self._entries().items()}

    def _entries(self) -> dict:
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise Fault([], f"expected a map of keys to values, found {shown(self.value)}")
        return self.value


def shown(value) -> str:
    """What a value is, for messages."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return "a list" if isinstance(value, list) else "a map"
