"""A member for tests of load balancers; its name is the first argument. Runs on a server of the emulation."""

from __future__ import annotations

import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = sys.argv[1] if __name__ == "__main__" else ""


class Handler(BaseHTTPRequestHandler):
    """Tells its name; `/forwarded` who asked, `/slow` 40 bytes within two seconds."""

    def do_GET(self) -> None:
        """Answer."""
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
        told = self.headers.get("X-Forwarded-For", "") if self.path == "/forwarded" else NAME
        self.wfile.write(told.encode())


def echo() -> None:
    """Answer datagrams with the name."""
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near.bind(("", 5353))
    while True:
        _, sender = near.recvfrom(99)
        near.sendto(NAME.encode(), sender)


if __name__ == "__main__":
    threading.Thread(target=echo, daemon=True).start()
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()
