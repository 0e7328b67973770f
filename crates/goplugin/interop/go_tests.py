"""go-plugin's own tests with our plugin in the place of theirs.

Each release's source is copied, and three places in its tests are changed: where they start the plugin (they start ours), where they
serve in the test's own process (they start a plugin too), and, before 1.8.0, the level of one test's log, which races with the host's own
messages unless net/rpc hides it; 1.8.0 made the same change. What they assert is as it was.
"""

import os
import pathlib
import re
import shutil

import processes

# Test, the first release that has it (a place in RELEASES), how often it must have started our plugin.
TESTS = [
    ("TestClient_grpc", 0),
    ("TestClient_grpcNotAllowed", 0),
    ("TestClient_grpc_servercrash", 0),
    ("TestClient_grpcSyncStdio", 1),
    ("TestClient_noStdoutScannerRace", 3),
    ("TestClient_reattachGRPC", 0),
    ("TestClient_TLS_grpc", 0),
    ("TestClient_mtlsClient", 0),
    ("TestServer_testMode_AutoMTLS", 2),
    ("TestClient_versionedClient", 0),
    ("TestClient_wrongVersion", 0),
    ("TestClient_legacyServer", 0),
    ("TestClientStart_badNegotiatedVersion", 0),
    ("TestClient_logger$/^grpc", 0),
    ("TestServerLogPanic", 3),
    ("TestGRPC(Client)?_App", 0),
    ("TestGRPCC_Stream", 0),
    ("TestGRPC(Client)?_Ping", 0),
    ("TestGRPC(Client)?_Reflection", 1),
]

# Until 1.6.0 the test wants the list of a server that has one version of reflection; Go's own newer plugins would not pass it either.
NEWER = {("TestGRPC(Client)?_Reflection", "v1.4.3"), ("TestGRPC(Client)?_Reflection", "v1.6.0")}
NEWER_TEXT = (
    r"got: \[grpc.health.v1.Health grpc.reflection.v1.ServerReflection grpc.reflection.v1alpha.ServerReflection "
    r"grpctest.Test plugin.GRPCBroker plugin.GRPCController plugin.GRPCStdio\]"
)


def overlay(here, build, module, release):
    """Copies the module of a release, changed, and a go.mod that leads to it; returns the path of the latter."""
    copy = build / f"tests-{release}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(module, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)

    def change(name, old, new):
        path = copy / name
        text, count = re.subn(old, new, path.read_text())
        if count == 0:
            raise ValueError(f"{release}: {name} has no {old}")
        path.write_text(text)

    change("plugin_test.go", r"exec\.Command\(os\.Args\[0\], cs\.\.\.\)", "helperCommand(cs)")
    change("grpc_client_test.go", r"\bTestPluginGRPCConn\(", "rustPluginConn(")
    if release in ("v1.4.3", "v1.6.0"):
        change("client_test.go", r'(?s)(func testClient_logger.*?Level: +)hclog\.Trace', r"\1hclog.Debug")
    for file in (here / "go/overlay").iterdir():
        shutil.copy(file, copy)
    modfile = build / f"tests-{release}.mod"
    text = (here / f"go/{release}.mod").read_text()
    modfile.write_text(f"{text}\nreplace github.com/hashicorp/go-plugin => {copy}\n")
    shutil.copy(here / f"go/{release}.sum", modfile.with_suffix(".sum"))
    return modfile


def certificates(module, folder):
    """The certificates of go-plugin's tests, from their source."""
    source = (module / "plugin_test.go").read_text()
    for constant, name in [("CACert", "ca"), ("ServerCert", "cert"), ("ServerKey", "key")]:
        found = re.search(rf"TestCluster{constant} = `(.*?)`", source, re.DOTALL)
        (pathlib.Path(folder) / f"{name}.pem").write_text(found.group(1))


def outcome(binary, source, plugin, folder, test, at, release, first):
    """Runs one test; returns what the table shows, and what is wrong with it."""
    folder = pathlib.Path(folder)
    # The name of the plugin's program is the name of its log, which one test wants to be that of Go's binary.
    link, runs = folder / "go-plugin.test", folder / "runs"
    if not link.exists():
        os.symlink(plugin, link)
    runs.unlink(missing_ok=True)
    code, out, err = processes.run(
        [binary, "-test.v", "-test.timeout=40s", f"-test.run=^{test}$"],
        cwd=source,
        RUST_PLUGIN=str(link),
        RUST_PLUGIN_RUNS=str(runs),
        PEER_TLS=str(folder),
    )
    text = out + err
    if at < first:
        if code == 0 and "no tests to run" in text:
            return "no such test", ""
        return "", f"expected Go to say that there is no such test: {text[-500:]}"
    if not runs.exists():
        return "", f"our plugin was not started: {text[-500:]}"
    if processes.left:
        return "", f"left running: {processes.left}"
    if (test, release) in NEWER:
        return ("newer", "") if code != 0 and re.search(NEWER_TEXT, text) else ("", text[-1500:])
    if code == 0 and "--- PASS" in text:
        return "ok", ""
    return "", text[-1500:]
