"""A real reverse proxy that serves an API under a prefix, and strips it: what nginx would do."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import httpx

_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "date", "server"}


class PrefixProxy:
    """http://127.0.0.1:port/prefix/... -> base/...; everything else is 404."""

    def __init__(self, base: str, prefix: str) -> None:
        client = httpx.Client(base_url=base, timeout=30, trust_env=False)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if not self.path.startswith(f"{prefix}/"):
                    self._answer(404, {}, b"not behind this proxy")
                    return
                headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
                got = client.get(self.path.removeprefix(prefix), headers=headers)
                kept = {k: v for k, v in got.headers.items() if k.lower() not in _HOP}
                self._answer(got.status_code, kept, got.content)

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._client = client
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}{prefix}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._client.close()
