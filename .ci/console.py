"""Reads the ```console blocks of a README: commands, what they are expected to print, and how a server shows that it is ready.

CONTRIBUTING.md describes the form for those who write examples.
"""

import re
from dataclasses import dataclass, field

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<info>.*)$")
_ADDRESS = r"(?:unix:\S+|[\w.\[\]:-]+:\d+)"
_EXIT = re.compile(r"\s+#\s*exit (?P<code>\d+)$")
_READY = re.compile(rf"\s+#\s*(?P<addresses>{_ADDRESS}(?:,? +{_ADDRESS})*)$")
_NEEDS = re.compile(r"<!--\s*needs:\s*(?P<tools>[^>]*?)\s*-->")

# Blocks in these languages hold commands that nobody would run.
_UNCHECKED = {"sh", "bash", "shell", "shell-session", "zsh"}


@dataclass
class Command:
    line: int
    text: str
    background: bool = False
    exit_code: int = 0
    ready: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    network: bool = False


class BadReadme(Exception):
    """What is wrong with how a README is written."""


def needs(readme: str) -> list[str]:
    """Programs beside Rust that the README's commands need: `<!-- needs: go, mvn -->`."""
    match = _NEEDS.search(readme)
    return re.split(r"[,\s]+", match["tools"]) if match else []


def commands(readme: str) -> list[Command]:
    found: list[Command] = []
    lines = readme.splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        at += 1
        if not fence:
            continue
        begin = at
        while at < len(lines) and lines[at].strip() != fence["ticks"]:
            at += 1
        words = fence["info"].split()
        block = [line.removeprefix(fence["indent"]) for line in lines[begin:at]]
        at += 1
        if words[:1] == ["console"]:
            found += _block(block, begin + 1, network="network" in words[1:])
        elif words and words[0] in _UNCHECKED:
            raise BadReadme(f"line {begin}: a block of {words[0]}; commands stand in ```console blocks, so that they are run")
    return found


def matches(expected: list[str], actual: str, *, prefix: bool = False) -> bool:
    """Whether the output is the expected one. `...` alone stands for any lines, within a line for any text.

    With `prefix`, more may follow: a server goes on printing.
    """
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("...")) + r"\n"
    text = "".join(line.rstrip() + "\n" for line in actual.rstrip().splitlines())
    return bool(re.match(pattern, text) if prefix else re.fullmatch(pattern, text))


def _block(lines: list[str], first: int, *, network: bool) -> list[Command]:
    found: list[Command] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        number = first + at
        at += 1
        if not line.startswith("$ "):
            if found:
                found[-1].expected.append(line.rstrip())
            elif line.strip():
                raise BadReadme(f"line {number}: a console block begins with a command: `$ ` and what is typed")
            continue
        text = line[2:]
        # A command goes on after a backslash, and in lines that the shell asks for with `> `.
        while at < len(lines) and (text.endswith("\\") or lines[at].startswith("> ")):
            text += "\n" + lines[at].removeprefix("> ")
            at += 1
        found.append(_command(text, number, network))
    for command in found:
        while command.expected and not command.expected[-1]:
            command.expected.pop()
        if command.background and not command.ready and not command.expected:
            raise BadReadme(
                f"line {command.line}: how does one see that it is ready? Say `&  # 127.0.0.1:8080`, or what it prints"
            )
    return found


def _command(text: str, number: int, network: bool) -> Command:
    command = Command(line=number, text=text.rstrip(), network=network)
    if match := _EXIT.search(command.text):
        command.exit_code = int(match["code"])
        command.text = command.text[: match.start()].rstrip()
    elif match := _READY.search(command.text):
        command.ready = re.split(r",? +", match["addresses"])
        command.text = command.text[: match.start()].rstrip()
    if command.text.endswith("&") and not command.text.endswith("&&"):
        command.background = True
        command.text = command.text[:-1].rstrip()
    elif command.ready:
        raise BadReadme(f"line {number}: an address to wait for, on a command without `&`")
    return command
