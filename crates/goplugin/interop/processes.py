"""The commands of a suite, and what they leave running.

The suite is a subreaper (prctl(2)): whatever its commands start and leave becomes its child, so that it can be seen and ended.
"""

import ctypes
import os
import pathlib
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36
# What was told to end, or whose host is gone, may need a moment.
GRACE_SECONDS = 1

# The command lines of what the last command left, and that had to be killed.
left = []


def adopt():
    """From now on orphans of this process's descendants become its own children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def run(command, timeout=60, cwd=None, stdin=None, **variables):
    """Runs a command to its end; returns its code and all that it printed. Then nothing that it started runs any more."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        env={**os.environ, **variables},
        cwd=cwd,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(stdin, timeout=timeout)
        code, end = process.returncode, ""
    except subprocess.TimeoutExpired:
        kill_all(process.pid)
        out, err = process.communicate()
        code, end = -1, "\n(timed out)"
    left[:] = settle()
    return code, out.decode(errors="replace") + end, err.decode(errors="replace")


def settle(grace=GRACE_SECONDS):
    """Waits until there is no child, for so long; kills the rest and returns their command lines."""
    end = time.monotonic() + grace
    while True:
        reap()
        children = children_of(os.getpid())
        if not children:
            return []
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    lines = []
    while children := children_of(os.getpid()):
        for child in children:
            lines += kill_all(child)
        reap()
        time.sleep(0.005)
    return lines


def kill_all(pid):
    """Kills a process and all below it; returns their command lines."""
    lines = []
    for child in children_of(pid):
        lines += kill_all(child)
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        # A zombie has no command line, and is dead already.
        if words != [b""]:
            lines.append(b" ".join(words).decode(errors="replace").strip())
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return lines


def children_of(pid):
    children = []
    try:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            children += [int(child) for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return children


def reap():
    """Reaps the dead. No command runs meanwhile, so that none of these is waited for elsewhere."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
