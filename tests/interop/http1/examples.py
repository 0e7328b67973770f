"""What a person sees first: the embedded example, and examples/auth."""

import signal
import subprocess

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from http1 import suite
from processes import TRANSOM, Program, curl
from suite import ROOT, equal, until

CODE = ("--output", "/dev/null", "--write-out", "%{http_code}")


@suite.case
def the_two_curl_lines_of_the_embedded_example_answer_200_and_403(scene):
    with open(scene.folder / "log", "wb") as log:
        program = subprocess.Popen([TRANSOM, "run"], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        lines = [program.stdout.readline().strip() for _ in range(2)]
        for line, status in zip(lines, ("200", "403"), strict=True):
            assert line.startswith("curl "), line
            answer = subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout
            equal(answer.split()[:2], ["HTTP/1.1", status], line)
        program.send_signal(signal.SIGTERM)
        equal(program.wait(20), 0, "exit code")
        equal(program.stdout.read(), "", "what else is on stdout")
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


@suite.case
def examples_auth_answers_200_403_and_502(scene):
    file = ROOT / "examples/auth/transom.yaml"
    if not file.exists():
        # The same configuration, with the upstream's address filled in.
        file = scene.folder / "transom.yaml"
        text = (ROOT / "crates/transom/src/example.yaml").read_text()
        file.write_text(text.replace("UPSTREAM", "127.0.0.1:8080"))
    scene.start(Program([TRANSOM, "run", "-c", str(file)], scene.folder, "transom"))
    url = "http://127.0.0.1:2046/"
    until(lambda: curl_code(url) != "000", "the proxy accepts")

    equal(curl_code(url, "-H", "User: admin"), "502", "without an upstream")
    upstream = ThreadingHTTPServer(("127.0.0.1", 8080), Hello)
    Thread(target=upstream.serve_forever, daemon=True).start()
    try:
        equal(curl("-H", "User: admin", url), "hello\n")
        equal(curl_code(url, "-H", "User: admin"), "200")
        equal(curl_code(url, "-H", "user: admin"), "200", "names have no case")
        equal(curl_code(url), "403", "without the header")
        equal(curl_code(url, "-H", "User: Admin"), "403", "values have case")
    finally:
        upstream.shutdown()
        upstream.server_close()
    # The connection that the pool kept is still open: its thread serves it.
    until(lambda: curl_code(url, "-H", "User: admin", "-H", "Connection: close") == "502", "the upstream is gone")


def curl_code(url: str, *arguments: str) -> str:
    run = subprocess.run(
        ["curl", "--silent", "--max-time", "20", *CODE, *arguments, url], capture_output=True, text=True
    )
    return run.stdout


class Hello(BaseHTTPRequestHandler):
    # One request per connection, so that no thread of it outlives the server.
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *_):
        pass
