"""Cases with Go's and Python's clients, testssl.sh, and what only some listeners have: providers, names, revocation."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import threading
import time

from checks import PATIENCE, Skip, expect, run

HERE = pathlib.Path(__file__).resolve().parent


def files(place):
    """What the listeners of these cases need beside the certificates that all have."""
    place.sign("alike", "clients", ["alike.test"])
    place.sign("revoked", "clients", ["me.test"])
    place.sign("late", "clients", ["me.test"], days=-1)
    place.sign("stapled", "ca", ["stapled.test"])
    place.revoke("clients", ["revoked"])
    place.ocsp("stapled", "ca")


# Name to TLS and cluster, as in `Program`.
LISTENERS = {
    "named": (
        "certificates: [{certificate: first.pem, private_key: first.key}], client_ca: clients.pem, client_crl: clients.crl, "
        "client_san: [{type: dns, exact: me.test}]",
        "plain",
    ),
    "stapled": ("certificates: [{certificate: stapled.pem, private_key: stapled.key, ocsp_response: stapled.ocsp}]", "plain"),
    "made": ("providers: [{name: self_signed, config: {authority: authority}}], on_demand: {names: ['*.made.test']}", "plain"),
}


def go_client(place):
    program = place.folder / "client"
    if not program.exists():
        if not shutil.which("go"):
            raise Skip("go is not installed")
        environment = os.environ | {"GO111MODULE": "off", "GOFLAGS": ""}
        subprocess.run(["go", "build", "-o", str(program), str(HERE / "client.go")], env=environment, check=True, timeout=300)
    return str(program)


def go(place, program, listener, version, count, *own, name="first.test"):
    words = [go_client(place), f"127.0.0.1:{program.ports[listener]}", "ca.pem", name, version, str(count), *own]
    done = subprocess.run(words, cwd=place.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout


def go_resumes_sessions_on_any_worker(place, program):
    for version in ("1.2", "1.3"):
        code, told = go(place, program, "open", version, 8)
        assert (code, told.split("\n", 1)) == (0, ["false 200", "true 200\n" * 7]), (version, told)


def go_is_let_in_by_its_certificate_and_resumes(place, program):
    for version in ("1.2", "1.3"):
        code, told = go(place, program, "required", version, 3, "me.pem", "me.key")
        assert (code, told) == (0, "false 200\ntrue 200\ntrue 200\n"), (version, told)
        code, told = go(place, program, "required", version, 1)
        assert code == 1 and "certificate required" in told + ("certificate required" if version == "1.2" else ""), told


def go_refuses_a_name_that_the_certificate_has_not(place, program):
    code, told = go(place, program, "open", "1.3", 1, name="nobody.test")
    assert code == 1, told
    expect("certificate is valid for first.test, not nobody.test", told)


def clients_are_told_apart_by_name_revocation_and_age(place, program):
    for version in ("1.2", "1.3"):
        for who, good in (("me", True), ("alike", False), ("revoked", False), ("late", False), ("you", False)):
            code, told = go(place, program, "named", version, 1, f"{who}.pem", f"{who}.key")
            assert (code == 0) == good, (version, who, told)


def openssl_gets_the_stapled_response(place, program):
    told = program.s_client("stapled", "-status", name="stapled.test")
    expect("OCSP Response Status: successful", told)
    expect("Cert Status: good", told)
    expect("no response sent", program.s_client("open", "-status"))


def curl_trusts_the_authority_of_self_signed(place, program):
    port = program.ports["made"]
    for name in ("localhost", "a.made.test", "b.c.made.test"):
        done = run("curl", "-sS", "--cacert", "authority/ca.pem", "--resolve", f"{name}:{port}:127.0.0.1",
                   f"https://{name}:{port}/x", cwd=place.folder, patience=PATIENCE)
        assert done == "asked for /x", done
    done = subprocess.run(
        ["curl", "-sS", "--cacert", "authority/ca.pem", "--resolve", f"a.other.test:{port}:127.0.0.1", f"https://a.other.test:{port}/"],
        cwd=place.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
    )
    # 60: it is shown the certificate for localhost.
    assert done.returncode == 60, done.stdout
    told = run("openssl", "verify", "-x509_strict", "-CAfile", "authority/ca.pem", "authority/ca.pem", cwd=place.folder)
    expect("OK", told)


def python_is_not_disturbed_by_renewals(place, program):
    """Requests on connections that last and on new ones, while the certificate is renewed again and again."""
    context = ssl.create_default_context(cafile="ca.pem")
    port, done, failures, counts = program.ports["open"], threading.Event(), [], {"lasting": 0, "new": 0}

    def ask(connection):
        connection.request("GET", "/x")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"asked for /x")

    def connect():
        connection = Named(port, context)
        return contextlib.closing(connection)

    def lasting():
        with connect() as connection:
            while not done.is_set():
                ask(connection)
                counts["lasting"] += 1

    def new():
        while not done.is_set():
            with connect() as connection:
                ask(connection)
            counts["new"] += 1

    def guarded(work):
        try:
            work()
        except Exception as error:
            failures.append(f"{work.__name__}: {error!r}")

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (lasting, new, new)]
    for thread in threads:
        thread.start()
    try:
        for _renewal in range(3):
            place.sign("first", "ca", ["first.test"])
            time.sleep(3.5)
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not failures, failures
    assert min(counts.values()) > 10, counts


class Named(http.client.HTTPSConnection):
    """Connects to the loopback and asks for first.test."""

    def __init__(self, port, context):
        super().__init__("first.test", port, context=context, timeout=PATIENCE)
        self._create_connection = lambda address, *rest: __import__("socket").create_connection(("127.0.0.1", address[1]), PATIENCE)


def testssl_finds_nothing_grave(place, program):
    if not shutil.which("testssl"):
        raise Skip("testssl is not installed")
    report = place.folder / "testssl.json"
    # Protocols, ciphers, preferences, forward secrecy and known attacks. It tries the network's own resolver for nothing.
    subprocess.run(
        ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--fast", "--openssl", shutil.which("openssl"),
         "-p", "-s", "-f", "-P", "-U", "--jsonfile", str(report), f"127.0.0.1:{program.ports['both']}"],
        cwd=place.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600,
    )
    findings = json.loads(report.read_text())
    by_id = {finding["id"]: finding for finding in findings}
    # All ciphers are good, so that the client may choose the one that is quickest for it.
    chosen = ("cipher_order", "cipherorder")
    bad = [it for it in findings if it["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL") and it["id"] not in chosen]
    grave = [f"{it['id']}: {it['finding']}" for it in bad]
    assert not grave, grave
    for protocol, wanted in (("SSLv2", "not offered"), ("SSLv3", "not offered"), ("TLS1", "not offered"), ("TLS1_1", "not offered"),
                             ("TLS1_2", "offered"), ("TLS1_3", "offered with final")):
        assert by_id[protocol]["finding"].startswith(wanted), by_id[protocol]
    # Its versions before 3.2 call it perfect.
    secrecy = by_id.get("FS") or by_id["PFS"]
    assert secrecy["severity"] == "OK", secrecy
    assert len(findings) > 40, f"only {len(findings)} findings"


CASES = [
    go_resumes_sessions_on_any_worker,
    go_is_let_in_by_its_certificate_and_resumes,
    go_refuses_a_name_that_the_certificate_has_not,
    clients_are_told_apart_by_name_revocation_and_age,
    openssl_gets_the_stapled_response,
    curl_trusts_the_authority_of_self_signed,
    python_is_not_disturbed_by_renewals,
    testssl_finds_nothing_grave,
]
