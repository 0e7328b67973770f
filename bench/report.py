"""From cells to rows: medians, ratios, the table, the gates, the JSON, and what machine it was."""

import json
import os
import platform
import re
import statistics
import subprocess
from pathlib import Path

from cases import CASES
from measure import Cell

# Gates of requests per second and CPU per request are ratios to nginx in the same run.
GATE_REQUESTS = 1.00
GATE_CPU, GOAL_CPU = 0.90, 0.85
GATE_NOOP_NS = 80
GATE_HANDSHAKES = 0.95
# CPU per request of Transom is at most so many times a peer's.
GATES_TO_PEERS = [
    ("http1-small", "haproxy", 0.90),
    ("http1-64k", "haproxy", 0.90),
    ("tcp-small", "nginx", 1.00),
    ("tcp-64k", "nginx", 1.00),
]
# A median over rounds in which somebody else used more than this part of a core is no measurement.
QUIET = 0.05

Cells = dict[tuple[str, str], list[Cell]]

# Memory of connections at rest, and of Transom at most so many times nginx's.
GATE_IDLE = 1.00

_METRICS = ["requests_per_s", "cpu_us_per_request", "p50_us", "p99_us", "rss_mib", "pss_mib"]
_DIGITS = {"requests_per_s": 0, "cpu_us_per_request": 2, "p50_us": 0, "p99_us": 0, "rss_mib": 1}


def median_of(cells: Cells, case: str, proxy: str, metric: str) -> float | None:
    values = [getattr(cell, metric) for cell in cells.get((case, proxy), [])]
    return statistics.median(values) if values and None not in values else None


def rows(cells: Cells) -> list[dict]:
    """The rows of the JSON. What was not measured is null."""
    references = {case.name: case.reference or case.name for case in CASES}
    found = []
    for case, proxy in cells:
        median = {metric: median_of(cells, case, proxy, metric) for metric in _METRICS}
        nginx = {metric: median_of(cells, references[case], "nginx", metric) for metric in _METRICS}
        found.append(
            {
                "proxy": proxy,
                "case": case,
                "requests_per_s": _rounded(median["requests_per_s"], 0),
                "ratio_to_nginx": _ratio(median["requests_per_s"], nginx["requests_per_s"]),
                "cpu_us_per_request": _rounded(median["cpu_us_per_request"], 2),
                "cpu_ratio_to_nginx": _ratio(median["cpu_us_per_request"], nginx["cpu_us_per_request"]),
                "p50_us": _rounded(median["p50_us"], 0),
                "p99_us": _rounded(median["p99_us"], 0),
                "rss_mib": _rounded(median["rss_mib"], 1),
                "pss_mib": _rounded(median["pss_mib"], 1),
            }
        )
    return found


def write_json(path: Path, cells: Cells) -> None:
    lines = ",\n".join("  " + json.dumps(row) for row in rows(cells))
    path.write_text(f'{{"rows": [\n{lines}\n]}}\n')


def table(cells: Cells) -> str:
    """Medians with the extremes of the rounds, as Markdown that can be read as it is."""
    head = ["case", "proxy", "requests/s", "× nginx", "CPU µs/request", "× nginx", "p50 µs", "p99 µs", "RSS MiB", "PSS MiB", "foreign", "steal"]
    lines = [head]
    for row in rows(cells):
        measured = cells[row["case"], row["proxy"]]
        lines.append(
            [
                row["case"],
                row["proxy"],
                _spread(measured, "requests_per_s"),
                _cell(row["ratio_to_nginx"], 2),
                _spread(measured, "cpu_us_per_request"),
                _cell(row["cpu_ratio_to_nginx"], 2),
                _cell(row["p50_us"], 0),
                _cell(row["p99_us"], 0),
                _cell(row["rss_mib"], 1),
                _cell(row["pss_mib"], 1),
                _cell(statistics.median(cell.foreign for cell in measured), 2),
                _cell(statistics.median(cell.steal for cell in measured), 2),
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def gates(cells: Cells) -> tuple[list[str], bool]:
    """Sentences about the targets, and whether all that are gates are met. Extremes are of ratios within one round."""
    said = []
    all_met = True
    transom, nginx = cells.get(("http1-small", "transom")), cells.get(("http1-small", "nginx"))
    if not transom or not nginx:
        said, all_met = _other_gates(cells)
        return (said, all_met) if said else (["Transom and nginx were not both measured: nothing is said about the gates."], False)

    cpu = _ratio_of_medians(transom, nginx, "cpu_us_per_request")
    # Others' work only ever adds to CPU per request (caches): where a machine is not quiet, the least says most.
    least = min(cell.cpu_us_per_request for cell in transom) / min(cell.cpu_us_per_request for cell in nginx)
    said.append(
        f"CPU per request: {cpu[0]:.3f} × nginx (rounds {cpu[1]:.2f}–{cpu[2]:.2f}, least to least {least:.3f}); "
        f"at most {GATE_CPU:.2f}: {_met(cpu[0] <= GATE_CPU)}; goal {GOAL_CPU:.2f}: {_met(cpu[0] <= GOAL_CPU)}"
    )
    requests = _ratio_of_medians(transom, nginx, "requests_per_s")
    said.append(
        f"Requests/s: {requests[0]:.3f} × nginx (rounds {requests[1]:.2f}–{requests[2]:.2f}); "
        f"at least {GATE_REQUESTS:.2f}: {_met(requests[0] >= GATE_REQUESTS)}"
    )
    all_met = cpu[0] <= GATE_CPU and requests[0] >= GATE_REQUESTS

    noops = cells.get(("http1-small-32noop", "transom"))
    if noops:
        of_medians = _noop_ns(_median(noops), _median(transom))
        by_round = [_noop_ns(a.cpu_us_per_request, b.cpu_us_per_request) for a, b in zip(noops, transom)]
        said.append(
            f"No-op filter: {of_medians:.0f} ns (rounds {min(by_round):.0f}–{max(by_round):.0f}); "
            f"at most {GATE_NOOP_NS}: {_met(of_medians <= GATE_NOOP_NS)}"
        )
        all_met = all_met and of_medians <= GATE_NOOP_NS
    others, others_met = _other_gates(cells)
    return said + others, all_met and others_met


def _other_gates(cells: Cells) -> tuple[list[str], bool]:
    """Those beside http1-small and nginx, as far as they were measured."""
    said = []
    all_met = True
    for case, peer, most in GATES_TO_PEERS:
        ours, theirs = cells.get((case, "transom")), cells.get((case, peer))
        if ours and theirs:
            ratio = _ratio_of_medians(ours, theirs, "cpu_us_per_request")
            said.append(
                f"CPU per request, {case}: {ratio[0]:.3f} × {peer} (rounds {ratio[1]:.2f}–{ratio[2]:.2f}); "
                f"at most {most:.2f}: {_met(ratio[0] <= most)}"
            )
            all_met = all_met and ratio[0] <= most
    ours, theirs = cells.get(("idle-10k", "transom")), cells.get(("idle-10k", "nginx"))
    if ours and theirs:
        ratio = _ratio_of_medians(ours, theirs, "rss_mib")
        once = _ratio_of_medians(ours, theirs, "pss_mib")
        said.append(
            f"Memory of 10,000 idle connections: {ratio[0]:.3f} × nginx (rounds {ratio[1]:.2f}–{ratio[2]:.2f}); "
            f"at most {GATE_IDLE:.2f}: {_met(ratio[0] <= GATE_IDLE)}; with what processes share counted once {once[0]:.3f} ×"
        )
        all_met = all_met and ratio[0] <= GATE_IDLE
    tls_said, tls_met = _tls_gates(cells)
    return said + tls_said, all_met and tls_met


def _tls_gates(cells: Cells) -> tuple[list[str], bool]:
    """Handshakes per second, where both were measured."""
    transom, nginx = cells.get(("tls-handshake", "transom")), cells.get(("tls-handshake", "nginx"))
    if not transom or not nginx:
        return [], True
    handshakes = _ratio_of_medians(transom, nginx, "requests_per_s")
    cpu = _ratio_of_medians(transom, nginx, "cpu_us_per_request")
    is_met = handshakes[0] >= GATE_HANDSHAKES
    said = (
        f"TLS handshakes/s (RSA-2048): {handshakes[0]:.3f} × nginx (rounds {handshakes[1]:.2f}–{handshakes[2]:.2f}); "
        f"at least {GATE_HANDSHAKES:.2f}: {_met(is_met)}; CPU per handshake {cpu[0]:.3f} × nginx"
    )
    return [said], is_met


def noise(cells: Cells) -> str:
    """Whether others used the machine meanwhile."""
    everything = [cell for measured in cells.values() for cell in measured]
    disturbed = sum(cell.foreign + cell.steal > QUIET for cell in everything)
    worst = max(cell.foreign + cell.steal for cell in everything)
    verdict = "quiet" if disturbed * 10 <= len(everything) else "NOT QUIET, measure again before these numbers are used"
    return f"Noise: in {disturbed} of {len(everything)} windows others took more than {QUIET:.0%} of a core (at most {worst:.2f} cores): {verdict}"


def machine(programs: dict[str, str]) -> str:
    """What it was measured on, as a Markdown list."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1]) / 1024 / 1024
    hypervisor = " (a virtual machine)" if " hypervisor" in Path("/proc/cpuinfo").read_text() else ""
    lines = [
        f"- {os.cpu_count()} cores, {cpu[1] if cpu else platform.machine()}{hypervisor}, {memory:.0f} GiB, Linux {platform.release()}",
        f"- {_first_line(['wrk', '-v']).split(' Copyright')[0]}",
    ]
    for name, program in programs.items():
        if name == "transom":
            commit = _first_line(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"])
            lines.append(f"- Transom at {commit}, {_first_line(['rustc', '--version'])}")
        else:
            option = "--version" if name == "envoy" else "-v"
            version = _first_line([program, option]).removeprefix("nginx version: ")
            lines.append(f"- {version.replace(program, name)}")
    return "\n".join(lines)


def write_markdown(path: Path, text: str) -> None:
    """Puts the results between the marks of a page that has them, or makes them a page of their own."""
    begin, end = "<!-- results -->", "<!-- end of results -->"
    page = path.read_text() if path.exists() else f"{begin}\n{end}\n"
    if begin not in page or end not in page:
        raise SystemExit(f"{path} has no line {begin} … {end} to put the results in")
    path.write_text(page.partition(begin)[0] + f"{begin}\n{text}\n{end}" + page.partition(end)[2])


def _noop_ns(with_filters: float, without: float) -> float:
    return (with_filters - without) / 32 * 1000


def _median(measured: list[Cell]) -> float:
    return statistics.median(cell.cpu_us_per_request for cell in measured)


def _ratio_of_medians(ours: list[Cell], theirs: list[Cell], metric: str) -> tuple[float, float, float]:
    a = [getattr(cell, metric) for cell in ours]
    b = [getattr(cell, metric) for cell in theirs]
    by_round = [x / y for x, y in zip(a, b)]
    return statistics.median(a) / statistics.median(b), min(by_round), max(by_round)


def _met(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def _ratio(value: float | None, reference: float | None) -> float | None:
    return round(value / reference, 3) if value is not None and reference else None


def _rounded(value: float | None, digits: int) -> float | int | None:
    if value is None:
        return None
    return round(value, digits) if digits else round(value)


def _cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _spread(measured: list[Cell], metric: str) -> str:
    values = [getattr(cell, metric) for cell in measured]
    if None in values:
        return "–"
    digits = 0 if metric == "requests_per_s" else 1
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        return f"{command[0]}: not found"
    # Envoy's first line is empty.
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), "?")
