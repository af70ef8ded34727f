"""A collector of OTLP over HTTP on a loopback port: one that answers, or hangs."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent; does not answer before ``released`` if it hangs."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *, hangs: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = threading.Event()
        self.released = threading.Event()
        if not hangs:
            self.released.set()
        self.requests: list[tuple[dict[str, str], ExportTraceServiceRequest]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/traces"

    @property
    def span_names(self) -> list[str]:
        return [
            span.name
            for _, request in self.requests
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    def handle_error(self, request, client_address):
        """Say nothing of clients that have gone."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest.FromString(body)
        self.server.requests.append((dict(self.headers), request))
        self.server.asked.set()
        self.server.released.wait(30)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@contextmanager
def collector(*, hangs: bool = False):
    """Run a collector around the body."""
    server = Collector(hangs=hangs)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
