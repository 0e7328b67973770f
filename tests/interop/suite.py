"""What every suite here shares: cases, their verdicts, and the line that ends a suite.

A case is a function with `@suite.case`; its docstring is not needed, its name says what holds. It fails by an exception,
and is skipped by `Skip` (which is a failure in CI: there .ci/tools has installed every peer).
"""

import ctypes
import fcntl
import os
import pathlib
import resource
import shutil
import socket
import struct
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack

ROOT = pathlib.Path(__file__).resolve().parents[2]
CI = os.environ.get("CI") == "true"


class Skip(Exception):
    """A case that cannot run here, and why."""


class Suite:
    def __init__(self, name: str):
        self.name = name
        self.cases = []
        # Long and large, as a person asks for it; else as large as a quick run allows.
        self.long = False
        # Whether the network is the suite's own, to do with as it likes.
        self.has_own_network = False

    def case(self, function):
        self.cases.append(function)
        return function

    def main(self) -> int:
        """`run [--long] [WORD…]`: the cases whose names contain every word."""
        words = [word for word in sys.argv[1:] if word != "--long"]
        self.long = "--long" in sys.argv[1:]
        self.has_own_network = own_network()
        raise_descriptor_limit()
        counts = {"passed": 0, "failed": 0, "skipped": 0}
        for case in self.cases:
            if all(word in case.__name__ for word in words):
                counts[self.run(case)] += 1
        print(f"{self.name}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
        return 1 if counts["failed"] else 0

    def run(self, case) -> str:
        name = case.__name__.replace("_", " ")
        start = time.monotonic()
        try:
            with ExitStack() as stack:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="transom-interop-"))
                note = case(Scene(stack, pathlib.Path(folder)))
        except Skip as reason:
            print(f"{'FAILED ' if CI else 'skipped'}  {name}: {reason}", flush=True)
            return "failed" if CI else "skipped"
        except Exception:
            print(f"FAILED   {name}\n{traceback.format_exc()}", flush=True)
            return "failed"
        seconds = time.monotonic() - start
        print(f"ok       {name} ({seconds:.1f} s{'; ' + note if note else ''})", flush=True)
        return "passed"


class Scene:
    """What one case needs: a folder, and things that end with it (in the reverse order of their beginnings)."""

    def __init__(self, stack: ExitStack, folder: pathlib.Path):
        self.stack = stack
        self.folder = folder

    def start(self, thing):
        return self.stack.enter_context(thing)


def needs(command: str) -> str:
    """The path of a peer; the case is skipped without it."""
    path = shutil.which(command)
    if path is None:
        raise Skip(f"{command} is not installed; .ci/tools installs it")
    return path


def until(condition, what: str, seconds: float = 20):
    """Waits until `condition()` gives something true, and gives it."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


def equal(seen, expected, what: str = ""):
    if seen != expected:
        raise AssertionError(f"{what + ': ' if what else ''}{seen!r} is not {expected!r}")


def own_network() -> bool:
    """A network of one's own, where only loopback is, so that every port is free. Without the right to it: the machine's."""
    new_network = 0x40000000  # CLONE_NEWNET
    if ctypes.CDLL(None, use_errno=True).unshare(new_network) != 0:
        print(f"in the machine's network: {os.strerror(ctypes.get_errno())}")
        return False
    set_flags, up_and_running = 0x8914, 0x41  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
    with socket.socket() as control:
        fcntl.ioctl(control, set_flags, struct.pack("16sh14x", b"lo", up_and_running))
    return True


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
