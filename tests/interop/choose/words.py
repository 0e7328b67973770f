"""What flags and variables say, and what is wrong with it."""

import os
import subprocess

from choosing import Proxy, Upstream, suite
from processes import TRANSOM
from suite import equal

CONFIGURATION = "clusters: [{name: up, endpoints: ['127.0.0.1:1']}]\n"


def refused(folder, arguments=(), environment=None) -> str:
    """What `transom check` and `transom run` say alike, both with exit code 2."""
    file = folder / "transom.yaml"
    file.write_text(CONFIGURATION)
    said = []
    for command in (["check", str(file)], ["run", "-c", str(file)]):
        done = subprocess.run([TRANSOM, *command, *arguments], env={**os.environ, **(environment or {})}, capture_output=True,
                              text=True, timeout=60, check=False)
        equal(done.returncode, 2, done.stderr)
        said.append(done.stderr)
    equal(said[0], said[1])
    return said[0]


@suite.case
def an_unknown_name_is_an_error_with_the_known_ones(scene):
    for kind, known in [
        ("registry", "dns, etcd, file, memory, static"),
        ("selector", "least_request, random, round_robin"),
        ("transport", "memory, tcp, tls, unix"),
        ("client", "http1"),
        ("server", "http1"),
        ("broker", "memory, nats"),
    ]:
        said = refused(scene.folder, [f"--{kind}", "mucp"])
        assert f"--{kind}: unknown {kind} `mucp`" in said and known in said, said
        for variable in (f"TRANSOM_{kind.upper()}", f"MICRO_{kind.upper()}"):
            said = refused(scene.folder, environment={variable: "mucp"})
            assert f"${variable}: unknown {kind} `mucp`" in said and known in said, said


@suite.case
def a_flag_goes_before_a_variable_and_ours_before_go_micros(scene):
    bad = {"TRANSOM_SELECTOR": "ours", "MICRO_SELECTOR": "theirs"}
    assert "$TRANSOM_SELECTOR: unknown selector `ours`" in refused(scene.folder, environment=bad)
    bad["TRANSOM_SELECTOR"] = ""
    assert "$MICRO_SELECTOR: unknown selector `theirs`" in refused(scene.folder, environment=bad)
    assert "--selector: unknown selector `mine`" in refused(scene.folder, ["--selector", "mine"], bad)
    up = scene.start(Upstream("up"))
    proxy = scene.start(Proxy(scene.folder, f"endpoints: ['{up.address}']", arguments=["--selector", "random"], environment=bad))
    equal(proxy.ask(), (200, "up"))


@suite.case
def an_address_without_a_name_and_one_that_is_not_taken_are_errors(scene):
    said = refused(scene.folder, ["--registry-address", "a:1"])
    assert "nothing says which: name one with --registry" in said, said
    said = refused(scene.folder, ["--registry", "etcd"])
    assert "the registry `etcd`" in said, said
    said = refused(scene.folder, ["--registry", "etcd", "--registry-address", "nonsense"])
    assert "--registry and --registry-address" in said and "no address of an etcd" in said, said
    said = refused(scene.folder, ["--broker", "memory"], {"MICRO_BROKER_ADDRESS": "a:1"})
    assert "--broker and $MICRO_BROKER_ADDRESS" in said, said


@suite.case
def a_library_that_cannot_be_loaded_is_the_end(scene):
    file = scene.folder / "text.so"
    file.write_text("no library")
    file.chmod(0o644)
    for variable in ("TRANSOM_PLUGIN", "MICRO_PLUGIN"):
        said = refused(scene.folder, environment={variable: f", {scene.folder}/nothing.so,"})
        assert f"${variable}: the library {scene.folder}/nothing.so cannot be used" in said, said
        said = refused(scene.folder, environment={variable: str(file)})
        assert f"${variable}: the library {file} cannot be used" in said, said
