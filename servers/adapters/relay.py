"""Stands between a client and a server of this machine and changes what passes.

An adapter derives from `Relay`, overrides `onward` and `answer`, and calls `serve`. Bodies are held in memory.
"""

import http.client
import http.server
import sys

# Of one connection only, or made anew on the way.
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server", "expect"}


class Refusal(Exception):
    """Ends a request with a status and a body, without asking the server."""

    def __init__(self, status, body):
        super().__init__(status)
        self.status, self.body = status, body


class Relay(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream = 0

    def onward(self, headers, body):
        """The headers to send on, from those that came (a list of pairs)."""
        return headers

    def answer(self, status, headers):
        """The status and headers to answer with."""
        return status, headers

    def log_message(self, *_):
        pass

    def exactly(self, size):
        """So many bytes of the body. Storage keeps nothing of a request that breaks off."""
        part = self.rfile.read(size)
        if len(part) < size:
            raise ConnectionResetError("the request broke off")
        return part

    def read_body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.exactly(int(self.headers.get("Content-Length") or 0))
        parts = []
        while True:
            line = self.rfile.readline()
            if not line:
                raise ConnectionResetError("the request broke off")
            size = int(line.split(b";")[0], 16)
            parts.append(self.exactly(size))
            self.rfile.readline()
            if size == 0:
                return b"".join(parts)

    def relay(self):
        try:
            body = self.read_body()
        except ConnectionError:
            self.close_connection = True
            return
        try:
            headers = self.onward(self.headers.items(), body)
        except Refusal as refusal:
            self.send([], refusal.status, refusal.body)
            return
        server = http.client.HTTPConnection("127.0.0.1", self.upstream)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                if name.lower() not in HOP:
                    server.putheader(name, value)
            server.putheader("Content-Length", str(len(body)))
            server.endheaders(body)
            reply = server.getresponse()
            content = reply.read()
            status, headers = self.answer(reply.status, reply.getheaders())
            self.send(headers, status, content, reply.getheader("Content-Length"))
        finally:
            server.close()

    def send(self, headers, status, body, length=None):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP:
                self.send_header(name, value)
        if self.command == "HEAD":
            self.send_header("Content-Length", length or "0")
            body = b""
        elif status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = relay


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(handler):
    """Listens on the first port of the command line in front of the second."""
    handler.upstream = int(sys.argv[2])
    Server(("127.0.0.1", int(sys.argv[1])), handler).serve_forever()
