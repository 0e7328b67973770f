"""nginx as a host that is spoken to with TLS: names, verification, certificates of the proxy, sessions, versions.

One nginx and one program of ours serve all cases. nginx listens on sockets in the folder and answers with what it knows of
the handshake; the program has a cluster for each row and takes it by the path's first segment.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

from checks import PATIENCE, Skip

# What each socket's server has beside its certificate.
TELL = (
    'return 200 "protocol=$ssl_protocol reused=$ssl_session_reused sni=$ssl_server_name host=$host '
    'client=$ssl_client_verify,$ssl_client_s_dn,$ssl_client_serial";'
)
SERVERS = {
    "both": ("host", "ssl_protocols TLSv1.2 TLSv1.3;"),
    "only12": ("host", "ssl_protocols TLSv1.2;"),
    "only13": ("host", "ssl_protocols TLSv1.3;"),
    "rsa": ("host-rsa", "ssl_protocols TLSv1.2 TLSv1.3;"),
    "expired": ("host-late", ""),
    "stranger": ("host-strange", ""),
    "mutual12": ("host", "ssl_protocols TLSv1.2; ssl_verify_client on; ssl_client_certificate clients.pem;"),
    "mutual13": ("host", "ssl_protocols TLSv1.3; ssl_verify_client on; ssl_client_certificate clients.pem;"),
    # No connection is used twice, so that each request has a handshake.
    "tickets12": ("host", "ssl_protocols TLSv1.2; keepalive_timeout 0;"),
    "tickets13": ("host", "ssl_protocols TLSv1.3; keepalive_timeout 0;"),
    "cache12": ("host", "ssl_protocols TLSv1.2; keepalive_timeout 0; ssl_session_tickets off; ssl_session_cache shared:a:1m;"),
    "cache13": ("host", "ssl_protocols TLSv1.3; keepalive_timeout 0; ssl_session_tickets off; ssl_session_cache shared:b:1m;"),
    "none13": ("host", "ssl_protocols TLSv1.3; keepalive_timeout 0; ssl_session_tickets off; ssl_session_cache off;"),
}
ME = "client: {certificate: me.pem, private_key: me.key}"
NAMED = "sni: host.test, ca: ca.pem"
# Name of the cluster to the server and the options of `tls`.
CLUSTERS = {
    **{name: (name, NAMED) for name in SERVERS},
    "wrongname": ("both", "sni: other.test, ca: ca.pem"),
    "wrongca": ("both", "sni: host.test, ca: strangers.pem"),
    "unverified": ("stranger", "sni: host.test, verify: false"),
    "bysan": ("both", "san: [{type: dns, suffix: .test}], ca: ca.pem, sni: anything.test"),
    "new": ("only12", f"{NAMED}, min_version: '1.3'"),
    "me12": ("mutual12", f"{NAMED}, {ME}"),
    "me13": ("mutual13", f"{NAMED}, {ME}"),
    "you12": ("mutual12", f"{NAMED}, client: {{certificate: you.pem, private_key: you.key}}"),
    "you13": ("mutual13", f"{NAMED}, client: {{certificate: you.pem, private_key: you.key}}"),
    "given": ("mutual13", f"{NAMED}, providers: [{{name: files, config: {{certificates: [{{certificate: turn.pem, private_key: turn.key}}]}}}}]"),
    # The first is of an authority that nginx does not name.
    "chosen": ("mutual13", f"{NAMED}, client: {{certificate: you.pem, private_key: you.key}}, "
               "providers: [{name: files, config: {certificates: [{certificate: me.pem, private_key: me.key}]}}]"),
    "auto": ("names", "auto_sni: true, sni: fixed.test, ca: ca.pem"),
}


def files(place):
    """What nginx's servers have beside the certificates that all have."""
    place.sign("host-rsa", "ca", ["host.test"], ["-newkey", "rsa:2048"])
    place.sign("host-late", "ca", ["host.test"], days=-1)
    place.sign("host-strange", "strangers", ["host.test"])
    place.sign("name-a", "ca", ["a.names.test"])
    place.sign("name-b", "ca", ["b.names.test"])
    place.sign("turn", "clients", ["turn.test"])


class Pair:
    """nginx, and the program before it."""

    def __init__(self, place):
        if not shutil.which("nginx"):
            raise Skip("nginx is not installed")
        self.place = place
        self.folder = place.folder / "hosts"
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        self.folder.mkdir(exist_ok=True)
        files(self.place)
        try:
            self.start_nginx()
            self.start_transom()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    def start_nginx(self):
        def server(socket, certificate, more, name=""):
            return (
                f"server {{ listen unix:hosts/{socket}.sock ssl; {name} ssl_certificate {certificate}.pem; "
                f"ssl_certificate_key {certificate}.key; {more} location / {{ {TELL} }} }}\n"
            )

        servers = "".join(server(name, certificate, more) for name, (certificate, more) in SERVERS.items())
        servers += "".join(server("names", f"name-{it}", "", f"server_name {it}.names.test;") for it in "ab")
        # Relative paths in it begin at the folder that -p names.
        (self.place.folder / "hosts.conf").write_text(
            "daemon off; pid hosts/nginx.pid; error_log stderr crit; worker_processes 1; events {}\n"
            "http { access_log off; default_type text/plain; client_body_temp_path hosts; proxy_temp_path hosts;\n"
            "fastcgi_temp_path hosts; uwsgi_temp_path hosts; scgi_temp_path hosts;\n" + servers + "}\n"
        )
        command = ["nginx", "-p", str(self.place.folder), "-c", "hosts.conf", "-e", "stderr"]
        self.start(command, self.folder / "nginx.log")
        # Its worker may be another user, and so may be that of the sockets' folder.
        self.wait(lambda: (self.folder / "names.sock").exists(), "nginx to listen")

    def start_transom(self):
        routes = ", ".join(f"{{match: {{prefix: /{name}/}}, cluster: {name}}}" for name in CLUSTERS)
        lines = [
            "workers: 2",
            "listeners:",
            "  - name: in",
            "    address: 127.0.0.1:0",
            "    network_filters:",
            "      - name: http",
            "        config:",
            "          access_logs: [{name: file, config: {path: hosts/access.log, flush_interval: 0s, "
            "json: {path: '%PATH%', details: '%RESPONSE_CODE_DETAILS%'}}}]",
            f"          virtual_hosts: [{{domains: ['*'], routes: [{routes}]}}]",
            "clusters:",
        ]
        for name, (socket, tls) in CLUSTERS.items():
            lines.append(f"  - {{name: {name}, endpoints: ['unix:{self.folder}/{socket}.sock'], tls: {{{tls}}}}}")
        (self.place.folder / "hosts.yaml").write_text("\n".join(lines) + "\n")
        log = self.folder / "transom.log"
        self.program = self.start([os.environ["TRANSOM"], "run", "-c", "hosts.yaml"], log)

        def port():
            text = re.sub("\x1b\\[[0-9;]*m", "", log.read_text())
            return re.search(r"listening.*address=127\.0\.0\.1:(\d+)", text)

        self.port = int(self.wait(port, "the program to listen")[1])

    def start(self, command, log):
        with open(log, "wb") as output:
            process = subprocess.Popen(command, cwd=self.place.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.stack.callback(end, process)
        return process

    def wait(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            logs = "".join(log.read_text() for log in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s\n{logs}"
            time.sleep(0.02)
        return value

    def ask(self, cluster, *words, path="x", host="host.test"):
        """The status, and what nginx told or the cause of the failure."""
        done = subprocess.run(
            ["curl", "-sS", "-o", "-", "-w", "\n%{http_code}", "-H", f"Host: {host}", *words,
             f"http://127.0.0.1:{self.port}/{cluster}/{path}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, text=True,
        )
        told, _, status = done.stdout.rpartition("\n")
        return int(status), told

    def cause(self, path):
        """The details of the answer to a path that was asked for once."""
        def line():
            lines = map(json.loads, (self.folder / "access.log").read_text().splitlines())
            return next((it["details"] for it in lines if it["path"] == path), None)
        return self.wait(line, f"a line of the log for {path}")


def end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_pair = None


def pair(place, program):
    """The one pair, which ends with the program of the suite."""
    global _pair
    if _pair is None:
        _pair = program.stack.enter_context(Pair(place))
    return _pair


def nginx_is_asked_for_the_name_in_every_version(place, program):
    both = pair(place, program)
    for cluster, version in (("both", "TLSv1.3"), ("only12", "TLSv1.2"), ("only13", "TLSv1.3"), ("rsa", "TLSv1.3")):
        status, told = both.ask(cluster)
        assert (status, told.split(" client")[0]) == (200, f"protocol={version} reused=. sni=host.test host=host.test"), (cluster, told)


def nginx_is_refused_unless_its_certificate_is_good(place, program):
    both = pair(place, program)
    for cluster, cause in (
        ("expired", "certificate_expired"),
        ("stranger", "certificate_of_unknown_issuer"),
        ("wrongca", "certificate_of_unknown_issuer"),
        ("wrongname", "certificate_for_another_name"),
        ("new", "nothing_in_common|refused_by_host"),
    ):
        assert both.ask(cluster, path="refused")[0] == 502, cluster
        details = both.cause(f"/{cluster}/refused")
        assert re.search(rf"tls_failure:({cause})", details), (cluster, details)
    for cluster in ("unverified", "bysan"):
        status, told = both.ask(cluster)
        assert status == 200, (cluster, told)


def nginx_is_shown_the_proxys_certificate_when_it_wants_one(place, program):
    both = pair(place, program)
    for version in ("12", "13"):
        status, told = both.ask(f"me{version}")
        assert status == 200 and "client=SUCCESS,CN=me.test," in told, told
        # nginx lets who is not admitted through the handshake, and answers 400.
        status, told = both.ask(f"mutual{version}")
        assert status == 400 and "No required SSL certificate was sent" in told, (status, told)
        status, told = both.ask(f"you{version}")
        assert status == 400 and "The SSL certificate error" in told, (status, told)
    status, told = both.ask("chosen")
    assert status == 200 and "client=SUCCESS,CN=me.test," in told, told


def nginx_is_shown_a_renewed_certificate_without_a_reload(place, program):
    both = pair(place, program)

    def serial():
        status, told = both.ask("given")
        assert status == 200 and "client=SUCCESS,CN=turn.test," in told, told
        return told.rpartition(",")[2]

    before = serial()
    place.sign("turn", "clients", ["turn.test"])
    both.wait(lambda: serial() != before, "nginx to be shown the new certificate")


def nginx_resumes_sessions_of_each_worker(place, program):
    both = pair(place, program)
    for cluster in ("tickets12", "tickets13", "cache12", "cache13"):
        seen = [both.ask(cluster)[1] for _ in range(24)]
        whole = [told for told in seen if "reused=." in told]
        resumed = [told for told in seen if "reused=r" in told]
        # Each of the two workers has one whole handshake at most.
        assert len(whole) <= 2 and len(whole) + len(resumed) == 24, (cluster, seen)
    seen = [both.ask("none13")[1] for _ in range(4)]
    assert all("reused=." in told for told in seen), seen


def nginx_is_chosen_by_the_host_of_the_request(place, program):
    both = pair(place, program)
    for name in ("a.names.test", "b.names.test", "A.names.test:8443", "a.names.test"):
        status, told = both.ask("auto", host=name)
        assert status == 200 and f"sni={name.lower().partition(':')[0]} " in told, (name, told)
    # nginx shows the first certificate for a name that it does not know, and that is for another.
    for name in ("c.names.test", "fixed.test"):
        assert both.ask("auto", host=name, path=name)[0] == 502, name
        assert "certificate_for_another_name" in both.cause(f"/auto/{name}"), name


CASES = [
    nginx_is_asked_for_the_name_in_every_version,
    nginx_is_refused_unless_its_certificate_is_good,
    nginx_is_shown_the_proxys_certificate_when_it_wants_one,
    nginx_is_shown_a_renewed_certificate_without_a_reload,
    nginx_resumes_sessions_of_each_worker,
    nginx_is_chosen_by_the_host_of_the_request,
]
