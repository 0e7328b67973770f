"""Runs the commands of READMEs as a person would, from the root of the repository, and compares what they print.

Each README has a network namespace of its own where we may make one (root), so that the ports that it names are free; what it
started in the background is ended when it is done.
"""

import argparse
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import console

# Everything is built beforehand; what takes longer than this hangs.
COMMAND_SECONDS = 120
# Blocks that may use the network fetch and build things.
NETWORK_SECONDS = 900
READY_SECONDS = 60
# A server drains for 30 s at most, by default.
END_SECONDS = 35


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", nargs="+")
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is not None:
        return run_readme(Path(arguments.readme[0]), outside=arguments.inside)

    isolate = ["unshare", "--net"] if may_unshare() else []
    if not isolate:
        print("No network namespace of its own (that takes root): the READMEs' ports must be free on this machine.")
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for readme in arguments.readme:
        print(f"-- {readme}", flush=True)
        outcome = skip_or_fault(readme)
        if outcome is None:
            outside = os.getpid() if isolate else 0
            child = [*isolate, sys.executable, __file__, "--inside", str(outside), readme]
            outcome = "failed" if subprocess.run(child).returncode else "passed"
        counts[outcome] += 1
    print("examples: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    return 1 if counts["failed"] else 0


def skip_or_fault(readme: str) -> str | None:
    """What becomes of a README that cannot be run."""
    text = Path(readme).read_text()
    try:
        if not console.commands(text):
            print("   no commands")
            return "skipped"
    except console.BadReadme as fault:
        print(f"   {readme}: {fault}")
        return "failed"
    missing = [tool for tool in console.needs(text) if not shutil.which(tool)]
    if missing:
        print(f"   needs {', '.join(missing)}")
        return "failed" if os.environ.get("CI") == "true" else "skipped"
    return None


def may_unshare() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "--net", "true"], stderr=subprocess.DEVNULL).returncode == 0


def run_readme(readme: Path, *, outside: int) -> int:
    if outside:
        raise_loopback()
    with tempfile.TemporaryDirectory(prefix="transom-example-") as folder:
        session = Session(Path(folder), outside)
        try:
            for command in console.commands(readme.read_text()):
                print(f"   $ {command.text}", flush=True)
                session.run(command)
            session.check_servers()
            return 0
        except Failed as failure:
            print(f"{readme}:{failure}", flush=True)
            session.print_servers()
            return 1
        finally:
            session.end()


class Failed(Exception):
    def __init__(self, command: console.Command, what: str, output: str = ""):
        text = f"{command.line}: $ {command.text}\n{what}"
        if command.expected:
            text += "\n--- expected\n" + "\n".join(command.expected)
        super().__init__(text + f"\n--- printed\n{output.rstrip()}\n---")


class Server:
    """A command that was started with `&`."""

    def __init__(self, command: console.Command, process: subprocess.Popen, log: Path):
        self.command = command
        self.process = process
        self.log = log
        self.was_signalled = False

    def output(self) -> str:
        return self.log.read_text(errors="replace")


class Session:
    """One README's shell: its folder, its exported variables, its jobs."""

    def __init__(self, folder: Path, outside: int):
        self.folder = folder
        self.outside = outside
        self.servers: list[Server] = []
        self.state = folder / "state"
        self.state.write_text("")
        # What a terminal would not show, we do not want to see in a pipe either: curl's meter, cargo's progress, colours.
        (folder / ".curlrc").write_text("silent\nshow-error\n")
        self.environment = {
            **os.environ,
            "CURL_HOME": str(folder),
            "CARGO_TERM_QUIET": "true",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }

    def run(self, command: console.Command) -> None:
        if command.background:
            self.start(command)
        elif match := re.fullmatch(r"wait %(\d+)", command.text):
            self.wait(command, self.job(command, match[1]))
        else:
            self.foreground(command)

    def foreground(self, command: console.Command) -> None:
        # Wherever a line kills: it may do so while something else on the line goes on.
        kill = re.compile(r"(\bkill (?:-\w+ )?)%(\d+)")
        text = kill.sub(lambda match: match[1] + self.signal(command, match[2]), command.text)
        script = (
            f"source {self.state}\n{text}\nstatus=$?\n"
            f"{{ printf 'cd %q\\n' \"$PWD\"; export -p; }} >{self.state}\nexit $status\n"
        )
        limit = NETWORK_SECONDS if command.network else COMMAND_SECONDS
        log = self.folder / "output"
        process = self.spawn(script, log, network=command.network)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            end_group(process, signal.SIGKILL)
            raise Failed(command, f"did not end within {limit} s", log.read_text(errors="replace")) from None
        output = log.read_text(errors="replace")
        if status != command.exit_code:
            raise Failed(command, f"exit code {status}, expected {command.exit_code}", output)
        if command.expected and not console.matches(command.expected, output):
            raise Failed(command, "printed something else", output)

    def start(self, command: console.Command) -> None:
        for address in command.ready:
            if accepts(address):
                raise Failed(command, f"{address} is taken already, by something that this README did not start")
        log = self.folder / f"server{len(self.servers) + 1}"
        process = self.spawn(f"source {self.state}\n{with_exec(command.text)}\n", log, network=command.network)
        server = Server(command, process, log)
        self.servers.append(server)
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready(server):
            if process.poll() is not None:
                raise Failed(command, f"ended with {process.returncode} before it was ready", server.output())
            if time.monotonic() > deadline:
                raise Failed(command, f"was not ready within {READY_SECONDS} s", server.output())
            time.sleep(0.05)

    def is_ready(self, server: Server) -> bool:
        command = server.command
        shown = not command.expected or console.matches(command.expected, server.output(), prefix=True)
        return shown and all(accepts(address) for address in command.ready)

    def spawn(self, script: str, log: Path, *, network: bool) -> subprocess.Popen:
        outwards = ["nsenter", f"--net=/proc/{self.outside}/ns/net"] if network and self.outside else []
        with log.open("wb") as sink:
            return subprocess.Popen(
                [*outwards, "bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def job(self, command: console.Command, number: str) -> Server:
        if not 1 <= int(number) <= len(self.servers):
            raise Failed(command, f"no job %{number}: {len(self.servers)} were started with &")
        return self.servers[int(number) - 1]

    def signal(self, command: console.Command, number: str) -> str:
        server = self.job(command, number)
        server.was_signalled = True
        return str(server.process.pid)

    def wait(self, command: console.Command, server: Server) -> None:
        try:
            status = server.process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(command, "still runs", server.output()) from None
        # A shell tells a signal as 128 + its number.
        status = status if status >= 0 else 128 - status
        if status != command.exit_code:
            raise Failed(command, f"exit code {status}, expected {command.exit_code}", server.output())

    def check_servers(self) -> None:
        for server in self.servers:
            if server.process.poll() not in (None, 0) and not server.was_signalled:
                raise Failed(server.command, f"ended with {server.process.returncode} meanwhile", server.output())

    def print_servers(self) -> None:
        for server in self.servers:
            print(f"--- printed by {server.command.text}\n{server.output().rstrip()}\n---")

    def end(self) -> None:
        for server in reversed(self.servers):
            end_group(server.process, signal.SIGTERM)
            try:
                server.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"   {server.command.text}: did not end on SIGTERM within {END_SECONDS} s, killed")
            end_group(server.process, signal.SIGKILL)
            server.process.wait()


def with_exec(text: str) -> str:
    """Lets a simple command take the shell's place, so that its process id is the program's own."""
    if re.search(r"[|;&\n]", text):
        return text
    assignments = re.match(r"(?:\w+=\S*\s+)*", text)[0]
    return f"{assignments}exec {text[len(assignments):]}"


def end_group(process: subprocess.Popen, number: signal.Signals) -> None:
    """Ends what a command started, by the group that we made for it."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def accepts(address: str) -> bool:
    if address.startswith("unix:"):
        family, target = socket.AF_UNIX, address.removeprefix("unix:")
    else:
        host, port = address.rsplit(":", 1)
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        target = (host, int(port))
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(target) == 0


def raise_loopback() -> None:
    """A new namespace's loopback is down. (SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP of netdevice(7).)"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        name, flags = struct.unpack("16sh14x", fcntl.ioctl(control, 0x8913, request))
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", name, flags | 1))


if __name__ == "__main__":
    sys.exit(main())
