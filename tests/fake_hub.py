"""A Hugging Face hub on a local port: file lists and files of folders, gated or not. Knows nothing of models."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class FakeHub:
    """``repositories`` maps a repository to its folder; ``requests`` holds every path asked for."""

    repositories: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    cut_after_bytes: int = 0
    """Break every file off after so many bytes; 0 sends them whole."""
    requests: list[str] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def serve(self) -> Iterator[FakeHub]:
        """Listen while the block lasts."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                path = self.path.split("?")[0]
                hub.requests.append(path)
                for repository, folder in hub.repositories.items():
                    if path.startswith(f"/api/models/{repository}/tree/"):
                        return self.send_json([entry(folder, file) for file in files(folder)])
                    if path.startswith(f"/{repository}/resolve/"):
                        revision, _, name = path.removeprefix(f"/{repository}/resolve/").partition("/")
                        if repository in hub.gated:
                            return self.send_gated()
                        return self.send_file_part(folder / name, revision, body=body)
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def send_json(self, value: object) -> None:
                content = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def send_gated(self) -> None:
                self.send_response(403)
                self.send_header("X-Error-Code", "GatedRepo")
                self.send_header("X-Error-Message", "Access to this model is restricted.")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def send_file_part(self, path: Path, revision: str, *, body: bool) -> None:
                content = path.read_bytes()
                first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
                self.send_response(206 if first else 200)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", revision)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(content) - first))
                if first:
                    self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
                self.end_headers()
                if body:
                    last = first + hub.cut_after_bytes if hub.cut_after_bytes else len(content)
                    self.wfile.write(content[first:last])
                    if last < len(content):
                        self.close_connection = True

            def log_message(self, format: str, *arguments: object) -> None:
                """Keep quiet."""

        return Handler


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def entry(folder: Path, path: Path) -> dict[str, object]:
    oid = hashlib.sha1(path.read_bytes()).hexdigest()
    return {"type": "file", "path": path.relative_to(folder).as_posix(), "size": path.stat().st_size, "oid": oid}
