"""Pages that say which test shows what: each test that they name is there, and each claim has its line."""

import re
from pathlib import Path

PAGES = ("docs/process-plugins.md", "docs/supervision.md")

# What a name of a test begins with: the files that may have it. `{0}` is the module behind it.
PLACES = {
    "e2e": ["tests/e2e/tests/it/{0}.rs"],
    "goplugin": ["crates/goplugin/tests/it/{0}.rs", "crates/goplugin/src/**/*.rs"],
    "admin": ["crates/admin/tests/it/{0}.rs"],
    "process": ["crates/process/tests/it/{0}.rs", "crates/process/tests/it/main.rs", "crates/process/src/**/*.rs"],
    "proxy": ["sdk/rust/tests/proxy/*.rs"],
    "sdk": ["tests/sdk/src/*.rs"],
    "transom": ["crates/transom/tests/it/{0}.rs", "crates/transom/tests/{0}/main.rs"],
}

NAME = re.compile(r"`((?:%s)::[a-z0-9_:]+)`" % "|".join(PLACES))
SUITE = re.compile(r"interop suites? `([a-z0-9-]+)`")

# The numbers of the claims that a page has lines for, by what they begin with.
CLAIMS = {
    "docs/process-plugins.md": {
        "S0": [(1, 6), (10, 14), (20, 33), (40, 44), (50, 53)],
        "S1": [(1, 4), (10, 20), (30, 32), (40, 46), (50, 56), (60, 65), (70, 73)],
        "S2": [(1, 5), (10, 16), (20, 21), (30, 30), (40, 40), (50, 50), (60, 60), (70, 75), (81, 96)],
    },
}


def named_tests(root: Path) -> list[str]:
    faults = []
    for page in PAGES:
        path = root / page
        if not path.is_file():
            continue
        text = path.read_text()
        for number, line in enumerate(text.splitlines(), 1):
            for name in NAME.findall(line):
                if not is_there(root, name):
                    faults.append(f"{page}:{number}: there is no test {name}")
            for suite in SUITE.findall(line):
                if not any((root / place / "run").is_file() for place in (f"tests/interop/{suite}", f"crates/{suite}/interop")):
                    faults.append(f"{page}:{number}: there is no interop suite {suite}")
        faults += [f"{page}: no line for {claim}" for claim in missing(text, CLAIMS.get(page, {}))]
    return faults


def is_there(root: Path, name: str) -> bool:
    place, *rest = name.split("::")
    module, test = rest[0], rest[-1]
    files = [file for pattern in PLACES[place] for file in root.glob(pattern.format(module))]
    # A module stands for all that is in it.
    if len(rest) == 1 and any(file.stem == module or (file.name == "main.rs" and file.parent.name == module) for file in files):
        return True
    # A function, or a row of a table that tests are made of.
    wanted = re.compile(rf"\bfn {test}\b|^\s*{test}: [A-Z]\w* \{{", re.M)
    return any(wanted.search(file.read_text()) for file in files)


def missing(text: str, claims: dict[str, list[tuple[int, int]]]) -> list[str]:
    told = set()
    for line in text.splitlines():
        cells = line.split("|")
        # A line of which nothing is shown is none.
        if len(cells) < 4 or not cells[3].strip():
            continue
        for first, last in re.findall(r"(S\d-\d\d)[a-z]?(?: to (S\d-\d\d))?", cells[1]):
            family, begin = first.split("-")
            end = (last or first).split("-")[1]
            told |= {(family, number) for number in range(int(begin), int(end) + 1)}
    wanted = [(family, number) for family, ranges in claims.items() for a, b in ranges for number in range(a, b + 1)]
    return [f"{family}-{number:02}" for family, number in wanted if (family, number) not in told]
