"""Reads Rust source far enough to tell where `async` or `.await` stands in code.

Comments and literals do not count, nor does what runs elsewhere than on a worker's turn: `fn prepare` (the control side
waits there) and `mod tests`.
"""

import re

# `r"`, `r#"`, `br##"`, `c"`, `b'`…: what begins a literal. A lifetime (`'a`) is none and is told apart below.
_TOKEN = re.compile(
    r"""
    (?P<line_comment>//[^\n]*)
  | (?P<block_comment>/\*)
  | (?P<raw>\b(?:b|c)?r(?P<hashes>\#*)")
  | (?P<string>(?:\b[bc])?")
  | (?P<char>(?:\bb)?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F_]+\}|.)|[^\\'\n])')
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<mark>[{};()\[\]])
    """,
    re.VERBOSE,
)

_MAY_WAIT = {"fn prepare", "mod tests"}


def async_places(source: str) -> list[int]:
    """The lines on which code waits, or is made to."""
    words = list(_words(source))
    places = []
    scopes: list[str] = []  # what each open brace belongs to: `fn NAME`, `mod NAME` or nothing
    pending = ""  # the item whose brace is still to come
    depth = 0  # of parentheses and brackets: a `;` in `[u8; 4]` ends no item
    for index, (word, line) in enumerate(words):
        following = [w for w, _ in words[index + 1 : index + 3]]
        if word in ("fn", "mod") and following:
            pending = f"{word} {following[0]}"
        elif word in "([":
            depth += 1
        elif word in ")]":
            depth -= 1
        elif word == "{":
            scopes.append(pending)
            pending = ""
        elif word == "}":
            if scopes:
                scopes.pop()
        elif word == ";" and depth == 0:
            pending = ""
        elif word in ("async", "await"):
            is_prepare = following == ["fn", "prepare"]
            if not is_prepare and not _MAY_WAIT.intersection([*scopes, pending]):
                places.append(line)
    return places


def _words(source: str):
    """Words and marks of the code with their lines."""
    at = 0
    while match := _TOKEN.search(source, at):
        at = match.end()
        kind = match.lastgroup if match.lastgroup != "hashes" else "raw"
        if kind == "block_comment":
            at = _end_of_block_comment(source, at)
        elif kind == "raw":
            end = source.find('"' + match["hashes"], at)
            at = len(source) if end < 0 else end + 1 + len(match["hashes"])
        elif kind == "string":
            at = _end_of_string(source, at)
        elif kind in ("word", "mark"):
            yield match[0], source.count("\n", 0, match.start()) + 1


def _end_of_block_comment(source: str, at: int) -> int:
    """Block comments nest."""
    depth = 1
    for mark in re.finditer(r"/\*|\*/", source[at:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return at + mark.end()
    return len(source)


def _end_of_string(source: str, at: int) -> int:
    end = re.compile(r'(?:[^"\\]|\\.)*"', re.DOTALL).match(source, at)
    return end.end() if end else len(source)
