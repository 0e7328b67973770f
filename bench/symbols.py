"""Which functions ran, and the linker's commands that put them side by side."""

import re
from pathlib import Path

# Of a mangled name; behind it mostly stand types, and those with the same beginning are small.
LONGEST_NAME = 60

HEAD = """/* Written by bench/layout: the functions that are needed to serve, and to start, side by side. The others, nine tenths of
   the program, are then not in memory between them. A star stands for what the compiler makes of versions and paths. */
SECTIONS {
"""


def executed(dump: Path, program: Path) -> set[str]:
    """The program's functions that ran, of one of callgrind's dumps (valgrind's manual, "Callgrind Format Specification")."""
    names: dict[tuple[str, str], str] = {}
    found: set[str] = set()
    place, function, called = "", "", False
    for line in dump.read_text().splitlines():
        key, separator, value = line.partition("=")
        if separator and key in ("ob", "cob", "fn", "cfn"):
            number, _, name = value.partition(" ")
            kind = key[-2:]
            if name:
                names[kind, number] = name
            if key == "ob":
                place = names[kind, number]
            elif key == "fn":
                function = names[kind, number]
        elif key == "calls":
            called = True
        elif line and (line[0].isdigit() or line[0] in "+-*"):
            # Behind a line of a call stand what the called took.
            # What the layout has put into sections of its own is of no object for valgrind, which looks into .text only.
            if not called and place in (str(program), "???") and function:
                # Functions that call themselves have their depth behind an apostrophe.
                name = function.partition("'")[0]
                # Valgrind has names of its own: "(below main)", "???".
                if re.fullmatch(r"[\w.$]+", name):
                    found.add(name)
            called = False
    return found


def layout(served: set[str], started: set[str]) -> str:
    """The linker's commands. In each part the names are in order, so that another run's are comparable."""
    parts = [
        ("serve", sorted({pattern(name) for name in served})),
        ("start", sorted({pattern(name) for name in started} - {pattern(name) for name in served})),
    ]
    text = HEAD
    for name, patterns in parts:
        lines = "".join(f"    *({it})\n" for it in patterns)
        text += f"  .text.{name} : {{\n{lines}  }}\n"
    return text + "} INSERT BEFORE .text;\n"


def pattern(symbol: str) -> str:
    """The sections of a symbol, without the hashes in it, which go by versions, paths and the compiler."""
    # The older mangling ends with a hash of its own, the newer has one for each crate (RFC 2603).
    name = re.sub(r"17h[0-9a-f]{16}E", "17h*E", symbol)
    name = re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", name)
    name = re.sub(r"aws_lc_[0-9_]+_", "aws_lc_*_", name)
    # What the optimiser adds to copies.
    name = re.sub(r"(\.llvm)?\.\d+$", "*", name)
    if not name.startswith(("_ZN", "_R")):
        return f".text.{name}"
    if len(name) > LONGEST_NAME:
        name = name[:LONGEST_NAME].rstrip("*") + "*"
    # Cold ones are in .text.unlikely.
    return f".text*.{name}"
