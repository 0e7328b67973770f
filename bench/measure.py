"""One cell of the table: a proxy under load for a while, and what that took."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from cases import Case
from proxies import HEADER, Running

SCRIPT = Path(__file__).resolve().parent / "wrk-report.lua"
HANDSHAKES = Path(__file__).resolve().parent / "handshakes"
TICKS = os.sysconf("SC_CLK_TCK")
# Pools are filled and branches are learned by then.
WARM_UP_SECONDS = 0.4
# The first handshakes of all connections come at once, and none is over before it had its turn.
TLS_WARM_UP_SECONDS = 1.5
# Connections at rest have let go of what they held by then.
SETTLE_SECONDS = 1


@dataclass
class Cell:
    """What one proxy did in one round. Without a proxy (`direct`), it has neither CPU nor memory; at rest it has memory only."""

    requests_per_s: float | None
    p50_us: float | None
    p99_us: float | None
    cpu_us_per_request: float | None
    rss_mib: float | None
    # The same with what processes share counted once.
    pss_mib: float | None
    # Cores that somebody else used meanwhile, and cores that the hypervisor gave to other machines.
    foreign: float
    steal: float


class LoadFailed(Exception):
    """The load generator met an error, so that its numbers mean nothing."""


def measure(case: Case, proxy: Running | None, upstream: Running, seconds: int, tools: Path) -> Cell:
    if case.idle:
        return measure_idle(case, proxy)
    load = handshakes(case, proxy, tools) if case.close else wrk(case, proxy or upstream, bool(proxy and case.tls))
    warm_up(case, load)
    proxy_pids = proxy.pids() if proxy else []
    upstream_pids = upstream.pids()

    machine, proxy_cpu, upstream_cpu, own = Machine(), cpu_seconds(proxy_pids), cpu_seconds(upstream_pids), time.process_time()
    begun = time.monotonic()
    generator = start(load, seconds)
    with ended(generator):
        # Half-way: all connections are there, and none has gone yet.
        time.sleep(seconds / 2)
        memory = memory_mib(proxy_pids) if proxy else (None, None)
        output = generator.stdout.read()
        _, status, usage = os.wait4(generator.pid, 0)
        generator.returncode = os.waitstatus_to_exitcode(status)
    elapsed = time.monotonic() - begun
    machine_after = Machine()
    proxy_cpu = cpu_seconds(proxy_pids) - proxy_cpu
    upstream_cpu = cpu_seconds(upstream_pids) - upstream_cpu
    own = time.process_time() - own + usage.ru_utime + usage.ru_stime

    report = read_report(generator.returncode, output)
    requests = report["requests"]
    if case.close and (report["resumed"] > requests / 2) != case.resume:
        raise LoadFailed(f"{case.name}: {report['resumed']} of {requests} connections resumed a session")
    busy = machine_after.busy - machine.busy
    return Cell(
        requests_per_s=requests / (report["microseconds"] / 1e6),
        p50_us=report["p50_us"],
        p99_us=report["p99_us"],
        cpu_us_per_request=proxy_cpu / requests * 1e6 if proxy else None,
        rss_mib=memory[0],
        pss_mib=memory[1],
        foreign=max(0.0, (busy - proxy_cpu - upstream_cpu - own) / elapsed),
        steal=(machine_after.steal - machine.steal) / elapsed,
    )


class Machine:
    """CPU seconds of the whole machine since boot (proc(5), /proc/stat)."""

    def __init__(self):
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        self.busy = (user + nice + system + irq + softirq) / TICKS
        self.steal = steal / TICKS


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of processes with all their threads, living and ended."""
    ticks = 0
    for pid in pids:
        # The name, in parentheses, may hold blanks; utime and stime are fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def memory_mib(pids: list[int]) -> tuple[float, float]:
    """Resident memory, summed: what processes share (nginx's master and workers, their program) counted for each of them, and counted once."""
    rss, pss = 0, 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                rss += int(line.split()[1])
            elif line.startswith("Pss:"):
                pss += int(line.split()[1])
    return rss / 1024, pss / 1024


def measure_idle(case: Case, proxy: Running) -> Cell:
    """Memory while connections rest that each had one answer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = case.idle + 100
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LoadFailed(f"{case.name} needs {needed} descriptors, and this user may have {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    host, port = proxy.address.split(":")
    request = f"GET {case.path} HTTP/1.1\r\nHost: bench.test\r\n{HEADER[0]}: {HEADER[1]}\r\n\r\n".encode()
    machine, begun = Machine(), time.monotonic()
    with contextlib.ExitStack() as stack:
        for number in range(case.idle):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"0123456789"):
                piece = connection.recv(4096)
                if not piece:
                    raise LoadFailed(f"{proxy.peer.name} closed connection {number} of {case.idle} after {answer!r}")
                answer += piece
        time.sleep(SETTLE_SECONDS)
        machine_after, elapsed = Machine(), time.monotonic() - begun
        rss, pss = memory_mib(proxy.pids())
    # Busy is what the proxy, the upstream and this client were, too.
    return Cell(None, None, None, None, rss, pss, 0.0, (machine_after.steal - machine.steal) / elapsed)


def warm_up(case: Case, load: list[str]) -> None:
    # Generators take whole seconds only; they end in order on SIGINT.
    generator = start(load, 10)
    with ended(generator):
        time.sleep(TLS_WARM_UP_SECONDS if case.tls else WARM_UP_SECONDS)
        generator.send_signal(signal.SIGINT)
        output, _ = generator.communicate()
    read_report(generator.returncode, output)


def wrk(case: Case, target: Running, secure: bool) -> list[str]:
    """Requests on connections that last."""
    command = [*case.on_cores(1), "wrk", "--latency", "--timeout", "5s", "--header", f"{HEADER[0]}: {HEADER[1]}", "--script", str(SCRIPT)]
    command += ["--threads", str(case.threads), "--connections", str(case.connections)]
    return [*command, f"{'https' if secure else 'http'}://{target.address}{case.path}", "--duration"]


def handshakes(case: Case, target: Running, tools: Path) -> list[str]:
    """Connections that carry one request each (handshakes/main.go says why not by wrk)."""
    command = [*case.on_cores(1), str(tools / "handshakes"), "--connections", str(case.connections), "--header", f"{HEADER[0]}: {HEADER[1]}"]
    return [*command, *(["--resume"] if case.resume else []), "--address", target.address, "--duration"]


def build_tools(folder: Path) -> None:
    subprocess.run(["go", "build", "-o", str(folder / "handshakes"), "."], cwd=HANDSHAKES, check=True)


def start(load: list[str], seconds: int) -> subprocess.Popen:
    return subprocess.Popen(
        [*load, f"{seconds}s"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@contextlib.contextmanager
def ended(generator: subprocess.Popen):
    """No load goes on when this program is interrupted."""
    try:
        yield
    finally:
        if generator.returncode is None:
            generator.kill()
            generator.wait()


def read_report(status: int, output: str) -> dict:
    line = next((line for line in output.splitlines() if line.startswith("report ")), None)
    if status != 0 or line is None:
        raise LoadFailed(f"the load generator ended with {status}:\n{output}")
    report = json.loads(line.removeprefix("report "))
    if report["errors"] or not report["requests"]:
        raise LoadFailed(f"the load generator met errors:\n{output}")
    return report
