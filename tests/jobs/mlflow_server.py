"""The few requests of MLflow's REST API that the client makes for a run, kept in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit


class MLflow(ThreadingHTTPServer):
    """`runs`: {id: {"status", "metrics": [(key, step, value)], "params", "tags"}}; `refuses` answers all with 401."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.experiments: list[str] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.refuses = False
        self.authorizations: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: MLflow

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self._answer(url.path, {key: values[0] for key, values in parse_qs(url.query).items()})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self._answer(urlsplit(self.path).path, json.loads(body))

    def _answer(self, path: str, body: dict[str, Any]) -> None:
        self.server.authorizations.add(self.headers.get("authorization", ""))
        status, answer = (401, {"error_code": "UNAUTHENTICATED", "message": "Who are you?"})
        if not self.server.refuses:
            status, answer = self._do(path.removeprefix("/api/2.0/mlflow/"), body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _do(self, call: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        runs, experiments = self.server.runs, self.server.experiments
        match call:
            case "experiments/get-by-name":
                if body["experiment_name"] not in experiments:
                    return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
                number = str(experiments.index(body["experiment_name"]))
                return 200, {"experiment": {"experiment_id": number, "name": body["experiment_name"]}}
            case "experiments/create":
                experiments.append(body["name"])
                return 200, {"experiment_id": str(len(experiments) - 1)}
            case "runs/create":
                uid = f"run{len(runs)}"
                tags = {tag["key"]: tag["value"] for tag in body["tags"]}
                runs[uid] = {"status": "RUNNING", "metrics": [], "params": {}, "tags": tags}
                return 200, {"run": self._run(uid)}
            case "runs/search":
                found = [uid for uid, run in runs.items() if run["tags"]["jingtiao.run"] in body["filter"]]
                return 200, {"runs": [self._run(uid) for uid in found]}
            case "runs/get":
                return 200, {"run": self._run(body["run_id"])}
            case "runs/log-batch":
                run = runs[body["run_id"]]
                run["metrics"] += [(m["key"], int(m["step"]), m["value"]) for m in body.get("metrics", ())]
                run["params"] |= {param["key"]: param["value"] for param in body.get("params", ())}
                return 200, {}
            case "runs/update":
                runs[body["run_id"]]["status"] = body["status"]
                return 200, {"run_info": self._run(body["run_id"])["info"]}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": call}

    def _run(self, uid: str) -> dict[str, Any]:
        run = self.server.runs[uid]
        last = {key: {"key": key, "step": step, "value": value} for key, step, value in run["metrics"]}
        info = {"run_id": uid, "experiment_id": "0", "status": run["status"], "artifact_uri": "x"}
        return {"info": info, "data": {"metrics": list(last.values())}}


@contextmanager
def mlflow_server() -> Iterator[MLflow]:
    with MLflow() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
