"""Answers every GET on port 8090 with the name of the pod and what `PodName` says."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Greeting(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Answer it."""
        greeting = os.environ.get("PodName", "Hello")  # noqa: SIM112 - as the blueprint's image has it
        answer = f"Requesting to Pod({socket.gethostname()}): {greeting}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


ThreadingHTTPServer(("", 8090), Greeting).serve_forever()
