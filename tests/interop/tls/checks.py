"""What the cases of this suite share."""

import re
import subprocess

PATIENCE = 20


class Skip(Exception):
    pass


def run(*words, cwd=None, patience=None):
    done = subprocess.run(words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=patience)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}:\n{done.stdout}")
    return done.stdout


def expect(what, text):
    assert re.search(what, text), f"no {what!r} in {text[-1500:]!r}"
