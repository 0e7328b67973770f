"""An upstream that tells which request headers reached it."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Tell(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in one write: apart, the second would wait for the first one's acknowledgement.
    wbufsize = -1

    def do_GET(self):
        fields = [f"{name.lower()}: {value}" for name, value in self.headers.items()]
        seen = "\n".join([f"{self.command} {self.path}", *sorted(fields), ""]).encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(seen)))
        self.end_headers()
        self.wfile.write(seen)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", 8080), Tell).serve_forever()
