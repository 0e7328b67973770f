"""examples/plugins in the real proxy: by `transom.plugin.v1`, and as MOSN's examples are configured."""

import http.client
import json
import os
import pathlib
import shlex
import shutil
import ssl
import subprocess

from proxy import Proxy, listener
from suite import equal, needs

GOOD, BAD = {"user": "admin"}, {"user": "guest"}


class Example:
    """A program of examples/plugins: its command, and what it needs in its environment."""

    def __init__(self, command: list, **environment):
        self.command = [str(word) for word in command]
        self.environment = environment

    def declared(self, name: str) -> str:
        """The plugin's declaration."""
        env = [f"{key}={value}" for key, value in self.environment.items()]
        return f"plugins:\n  {name}: {{runtime: process, command: {json.dumps(self.command)}, env: {json.dumps(env)}}}"

    def lies(self, folder: pathlib.Path, name: str, *arguments: str):
        """Puts a program of this name into a folder, as MOSN wants its plugins: beside the proxy's own."""
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in self.environment.items())
        program = folder / name
        program.write_text(f'#!/bin/sh\n{exports}exec {shlex.join([*self.command, *arguments])} "$@"\n')
        program.chmod(0o755)


def beside(folder: pathlib.Path) -> pathlib.Path:
    """The proxy's program in a folder of its own, for plugins to lie beside it."""
    program = folder / "transom"
    try:
        os.link(os.environ["TRANSOM"], program)
    except OSError:  # another file system
        shutil.copy(os.environ["TRANSOM"], program)
    return program


def filtering(scene, example: Example):
    """`filter` by transom.plugin.v1, under `demo_plugin` and under `pluginfilter`."""
    declared = example.declared("auth")
    passes_and_denies(scene.start(Proxy(scene.folder, {"v1": listener("v1", "{plugin: auth, config: {User: admin}}")}, declared)))

    # As MOSN's examples: the agents' own programs, `checker` and `pluginfilter`, lie beside the proxy's, and demo_plugin's gets its
    # configuration by the argument that names `config_path`.
    folder = scene.folder / "mosn"
    folder.mkdir()
    program = beside(folder)
    (folder / "checkconf.json").write_text(json.dumps({"User": "admin"}))
    example.lies(folder, "checker")
    example.lies(folder, "pluginfilter", "-c", "checkconf.json")
    listeners = {
        "demo": listener("demo", "{name: demo_plugin, config: {config_path: ./checkconf.json}}"),
        # MOSN's 10 ms are short for a machine with other work.
        "whole": listener("whole", "{name: pluginfilter, config: {timeout: 5s}}"),
    }
    passes_and_denies(scene.start(Proxy(folder, listeners, program=program)))


def passes_and_denies(proxy: Proxy):
    proxy.warm(headers=GOOD)
    for name in proxy.ports:
        status, body, _ = proxy.ask(name, GOOD, body="hello")
        equal((status, json.loads(body)["body"]), (200, "hello"), f"{name}: who may pass, and the body")
        equal(proxy.ask(name, BAD)[0], 403, f"{name}: who may not")
        equal(proxy.ask(name)[0], 403, f"{name}: who does not say")


def loading(scene, example: Example):
    """`cert_loader` by transom.plugin.v1 and under `loader`: http fails, https works, and the filter behind it is asked."""
    for way in ("v1", "mosn"):
        folder = scene.folder / way
        (folder / "certs").mkdir(parents=True)
        tls = certificate(folder / "certs")
        check = "{name: header_match, config: {User: admin}}"
        if way == "v1":
            # The plugin's own defaults are ./certs/cert.pem and ./certs/key.pem.
            listeners = {"tls": listener("tls", check, "{providers: [{plugin: cert_loader}]}")}
            proxy = Proxy(folder, listeners, example.declared("cert_loader"))
        else:
            example.lies(folder, "loader")
            listeners = {"tls": listener("tls", check, "{providers: [{name: loader}]}")}
            proxy = Proxy(folder, listeners, program=beside(folder))
        proxy = scene.start(proxy)
        proxy.warm(headers=GOOD, tls=tls)
        equal(proxy.ask("tls", BAD, tls=tls)[0], 403, f"{way}: the filter behind it")
        try:
            status = proxy.ask("tls", GOOD)[0]
        except (OSError, http.client.HTTPException):
            status = None
        equal(status, None, f"{way}: http is not served")


def certificate(folder: pathlib.Path) -> ssl.SSLContext:
    """Writes cert.pem and key.pem; a client that trusts no other."""
    subprocess.run(
        [needs("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, stdin=subprocess.DEVNULL, capture_output=True,
    )
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))
