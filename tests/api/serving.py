"""The program that serves models, in a thread of the test, and a server elsewhere that speaks OpenAI's API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class _Threading(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving_program() -> Iterator[str]:
    """Its address."""
    from catalog.serving_app import application

    server = make_server("127.0.0.1", 0, application, server_class=_Threading, handler_class=_Quiet)
    with _running(server) as url:
        yield url


class _Elsewhere(BaseHTTPRequestHandler):
    """Answers "Hello" in pieces, once with everything and once as a stream; keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body | {"path": self.path, "key": self.headers.get("Authorization")})
        if body["messages"][-1]["content"] == "fail":
            return self._send(400, {"error": {"message": "Not so.", "code": "odd", "param": "messages"}})
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop",
            }
            return self._send(200, head | {"object": "chat.completion", "choices": [choice], "usage": usage})
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for delta, reason in (({"content": "Hel"}, None), ({"content": "lo"}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            self._chunk(head | {"object": "chat.completion.chunk", "choices": [choice]})
        if body["messages"][-1]["content"] == "break":
            self.close_connection = True
            return None
        self._chunk(head | {"object": "chat.completion.chunk", "choices": [], "usage": usage})
        self._piece(b"data: [DONE]\n\n")
        return self._piece(b"")

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _chunk(self, chunk: dict[str, Any]) -> None:
        self._piece(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    def _piece(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def server_elsewhere() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address, up to /v1, and what it was asked."""
    asked: list[dict[str, Any]] = []
    handler = type("Handler", (_Elsewhere,), {"asked": asked})
    with _running(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as url:
        yield f"{url}/v1", asked


@contextmanager
def _running(server: Any) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
