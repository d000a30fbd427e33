"""Serve as much of W&B's protocol as a run needs, and keep what is sent."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = {"id": "e", "name": "me"}


@dataclass
class ServedRun:
    """Run as the server records it."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


class WandbServer(ThreadingHTTPServer):
    """Server on a free port of this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, ServedRun] = {}

    @property
    def url(self) -> str:
        """Address for WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer a query of the kind that wandb 0.31 sends."""
        if "mutation UpsertBucket" in query:
            return self._upsert(variables)
        if "query RunResumeStatus" in query:
            return {
                "model": {"id": "p", "name": variables["project"], "entity": ENTITY, "bucket": self._known(variables)}
            }
        if "mutation CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}
        return {"viewer": {**ENTITY, "username": "me", "flags": "{}", "teams": {"edges": []}}, "serverInfo": None}

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(variables["name"], ServedRun())
        run.config |= json.loads(variables.get("config") or "{}")
        project = {"id": "p", "name": variables["project"], "entity": ENTITY}
        bucket = {
            "id": variables["name"],
            "name": variables["name"],
            "displayName": "",
            "config": "{}",
            "project": project,
        }
        return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": len(run.rows)}, "inserted": not run.rows}}

    def _known(self, variables: dict[str, Any]) -> dict[str, Any] | None:
        """Return what a run resumes from; None if there is no such run."""
        run = self.runs.get(variables["name"])
        if run is None:
            return None
        counts = {"logLineCount": 0, "historyLineCount": len(run.rows), "eventsLineCount": 0}
        tails = {"historyTail": json.dumps([json.dumps(row) for row in run.rows[-1:]]), "eventsTail": "[]"}
        facts = {"summaryMetrics": json.dumps(run.summary), "config": "{}", "wandbConfig": json.dumps({"t": 1})}
        return {"id": variables["name"], "name": variables["name"], "tags": [], **counts, **tails, **facts}

    def keep(self, key: str, sent: dict[str, Any]) -> None:
        """Keep the rows and the summary that a run sends."""
        run = self.runs[key]
        for name, chunk in (sent.get("files") or {}).items():
            lines = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                run.rows[chunk["offset"] :] = lines
            elif name == "wandb-summary.json":
                run.summary = lines[-1]
        run.exit_code = sent.get("exitcode") if sent.get("complete") else run.exit_code


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self._content()
        if self.path == "/graphql":
            self._reply({"data": self.server.answer(content["query"], content.get("variables") or {})})
        else:
            if self.path.endswith("/file_stream"):
                self.server.keep(self.path.split("/")[-2], content)
            self._reply({})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._reply({})

    def _content(self) -> dict[str, Any]:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        content: dict[str, Any] = json.loads(
            gzip.decompress(raw) if self.headers["Content-Encoding"] == "gzip" else raw
        )
        return content

    def _reply(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """Serve until the end of the block."""
    with WandbServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
