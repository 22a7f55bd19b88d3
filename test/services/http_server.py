"""Python's http.server on the Unix socket that the first argument names."""

import http.server
import socketserver
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    """Says who asks, and sends bodies back. HTTP/1.0, so every response ends with its connection."""

    def address_string(self):
        return "client"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(("%s %s" % (self.headers["X-Xen-Session-User"], self.path)).encode())

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201, "Made It")
        self.end_headers()
        self.wfile.write(body)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


Server(sys.argv[1], Handler).serve_forever()
