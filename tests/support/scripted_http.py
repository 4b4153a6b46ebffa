"""A server that answers as told, for failures that no real service gives on demand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]


@contextmanager
def scripted_server(*answers: Answer, seen: list[str] | None = None) -> Iterator[str]:
    """Gives these answers in turn and repeats the last; status 0 breaks off in mid-body. ``seen``: method and path."""
    script = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            if seen is not None:
                seen.append(f"{self.command} {self.path}")
            status, body, *headers = script.pop(0) if len(script) > 1 else script[0]
            self.send_response(status or 200)
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) + (0 if status else 100)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = not status

        do_GET = do_PUT = do_DELETE = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
