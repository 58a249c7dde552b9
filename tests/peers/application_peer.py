#!/usr/bin/env python3
"""An application as a mesh has them: it knows nothing of a proxy.

    application_peer.py NAME HTTP-PORT TCP-PORT     serves both, on all addresses of both families

HTTP: GET /… answers {"name", "client", "path"}; GET /call/URL asks URL in its turn and answers {"name", "client", "called"}.
TCP: the server begins, with `NAME greets CLIENT`, and then sends back each line in capitals.
"""

import json
import socket
import socketserver
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def text(address):
    """An address without its port; IPv4 as IPv4."""
    return address[0].removeprefix("::ffff:")


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answer = {"name": NAME, "client": text(self.client_address), "path": self.path}
        if self.path.startswith("/call/"):
            with urllib.request.urlopen(self.path.removeprefix("/call/"), timeout=10) as called:
                answer["called"] = json.load(called)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(f"{NAME} greets {text(self.client_address)}\n".encode())
        for line in self.rfile:
            self.wfile.write(line.upper())


class Both:
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class HttpServer(Both, ThreadingHTTPServer):
    pass


class TcpServer(Both, socketserver.ThreadingTCPServer):
    pass


NAME = sys.argv[1]
http = HttpServer(("::", int(sys.argv[2])), Http)
tcp = TcpServer(("::", int(sys.argv[3])), Tcp)
threading.Thread(target=tcp.serve_forever, daemon=True).start()
print("serving", flush=True)
http.serve_forever()
