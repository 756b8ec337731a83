"""The few requests of a Hugging Face hub that an upload makes, kept in memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_secret"


class Hub(ThreadingHTTPServer):
    """`files`: {repository: {name: content}} as committed; `objects`: {sha256: content} that was uploaded."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.uploads = 0
        # Where it says that large files go to.
        self.store = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def do_PUT(self) -> None:
        self.server.objects[self.path.rpartition("/")[2]] = self._body()
        self.server.uploads += 1
        self._answer(200, {})

    def do_POST(self) -> None:
        body, path = self._body(), unquote(self.path.partition("?")[0])
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid user token."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            assert asked["visibility"] == "private" if "visibility" in asked else asked["private"]
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.server.files.setdefault(name, {})
            self._answer(200, {"url": f"{self.server.address}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            modes = {True: "lfs", False: "regular"}
            large = [(file["path"], file["path"].endswith(".safetensors")) for file in files]
            answer = [
                {"path": name, "uploadMode": modes[is_large], "shouldIgnore": False}
                for name, is_large in large
            ]
            self._answer(200, {"files": answer})
        elif path.endswith("/info/lfs/objects/batch"):
            self._answer(
                200,
                {"transfer": "basic", "objects": [self._object(it) for it in json.loads(body)["objects"]]},
            )
        elif path.endswith("/commit/main"):
            self._commit(path.removeprefix("/api/models/").removesuffix("/commit/main"), body)
        else:
            self._answer(404, {"error": path})

    def _object(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] in self.server.objects:
            return asked
        store = self.server.store or self.server.address
        return asked | {"actions": {"upload": {"href": f"{store}/lfs/{asked['oid']}"}}}

    def _commit(self, repository: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.server.files[repository][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.files[repository][value["path"]] = self.server.objects[value["oid"]]
        url = f"{self.server.address}/{repository}/commit/abc"
        self._answer(200, {"commitUrl": url, "commitOid": "abc", "pullRequestUrl": None})


@contextmanager
def hub_server() -> Iterator[Hub]:
    with Hub() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
