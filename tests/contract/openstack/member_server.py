"""A member for tests of load balancers. Runs on a server of the emulation.

Its arguments are its name, and a certificate with its key in PEM. HTTP is at port 8080, HTTPS at 8443; at 8081 it tells
the addresses that the PROXY protocol gave it; at UDP 5353 it echoes its name.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, PEM = (*sys.argv[1:], "", "")[:2] if __name__ == "__main__" else ("", "")
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Handler(BaseHTTPRequestHandler):
    """Tells its name; `/late` after two seconds, `/slow` 40 bytes in two; `/header/NAME` a header of the request."""

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/late":
            time.sleep(2)
        self.send_response(200)
        self.send_header("Set-Cookie", f"who={NAME}")
        if self.path == "/slow":
            self.send_header("Content-Length", "40")
            self.end_headers()
            for _ in range(40):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
            return
        self.end_headers()
        asked = self.path.removeprefix("/header/")
        told = self.headers.get(asked, "") if asked != self.path else NAME
        self.wfile.write(told.encode())


class Proxied(socketserver.StreamRequestHandler):
    """Tells who the client is, by either version of the PROXY protocol (HAProxy's proxy-protocol.txt)."""

    def handle(self) -> None:
        """Answer one request of HTTP."""
        first = self.rfile.read(12)
        if first == SIGNATURE:
            _version, _family, length = self.rfile.read(1), self.rfile.read(1), self.rfile.read(2)
            told = f"v2 {socket.inet_ntoa(self.rfile.read(int.from_bytes(length, 'big'))[:4])}"
        else:
            words = (first + self.rfile.readline()).decode().split()
            told = f"v1 {words[2]}" if words[0] == "PROXY" else "none"
        while self.rfile.readline().strip():
            pass
        self.wfile.write(f"HTTP/1.0 200 OK\r\n\r\n{told}".encode())


def echo() -> None:
    """Answer datagrams with the name."""
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near.bind(("", 5353))
    while True:
        _, sender = near.recvfrom(99)
        near.sendto(NAME.encode(), sender)


def secured() -> ThreadingHTTPServer:
    """A server with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as pem:
        pem.write(PEM)
        pem.flush()
        context.load_cert_chain(pem.name)
    server = ThreadingHTTPServer(("", 8443), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


if __name__ == "__main__":
    servers = [secured(), socketserver.ThreadingTCPServer(("", 8081), Proxied)]
    for start in (echo, *(server.serve_forever for server in servers)):
        threading.Thread(target=start, daemon=True).start()
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()
