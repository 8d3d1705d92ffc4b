"""A Hugging Face Hub on the loopback interface: as much of its interface as the real clients ask of it here."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class LocalHub(ThreadingHTTPServer):
    """Serves `root/{models,datasets}/ORG/NAME/REVISION/…`.

    `asked`: `METHOD /path` of every request. `faults`: `[pattern, status, times]`, the next answers to what matches.
    `closed`: repositories by id with `gated`, `private` or `forbidden`; one token is good, `hf_good`.
    """

    daemon_threads = True

    def __init__(self, root: Path):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.root, self.asked, self.faults, self.closed = root, [], [], {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, kind: str, name: str, revision: str) -> str | None:
        """The id of a revision, from its files; also of an id itself."""
        for folder in (self.root / kind / name).glob("*"):
            found = hashlib.sha1()
            for path in sorted(folder.rglob("*")):
                found.update(path.name.encode() + (path.read_bytes() if path.is_file() else b""))
            if revision in (unquote(folder.name), found.hexdigest()):
                return found.hexdigest()
        return None

    def folder(self, kind: str, name: str, commit: str) -> Path:
        folders = (self.root / kind / name).glob("*")
        return next(folder for folder in folders if self.commit(kind, name, unquote(folder.name)) == commit)


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LocalHub

    def log_message(self, *_):
        pass

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self.server.asked.append(f"{self.command} {self.path}")
        for fault in self.server.faults:
            if fault[2] and re.search(fault[0], f"{self.command} {self.path}"):
                fault[2] -= 1
                return self.say(fault[1])
        self.route(unquote(urlsplit(self.path).path))

    do_HEAD = do_POST = do_GET

    def say(self, status: int, content: bytes = b"", **headers: str) -> None:
        first = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if first and status == 200:
            headers["Content_Range"] = f"bytes {first[1]}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[int(first[1]) :]
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def give(self, what) -> None:
        self.say(200, json.dumps(what).encode(), Content_Type="application/json")

    def refuse(self, status: int, code: str, text: str) -> None:
        self.say(status, json.dumps({"error": text}).encode(), X_Error_Code=code, X_Error_Message=text)

    def route(self, path: str) -> None:
        if path == "/":
            return self.say(200)
        if found := re.fullmatch(
            r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/(revision|tree|paths-info)/(.+))?", path
        ):
            kind, name, verb, rest = found[1], found[2], found[3] or "revision", found[4] or "main"
        elif found := re.fullmatch(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/(.+)", path):
            kind, name, verb, rest = "datasets" if found[1] else "models", found[2], "resolve", found[3]
        else:
            return self.refuse(404, "", f"unknown: {path}")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        closed = self.server.closed.get(name)
        if token and token != "hf_good":
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        if not (self.server.root / kind / name).is_dir() or (closed == "private" and not token):
            return self.refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        if closed == "forbidden":
            return self.refuse(403, "", "Forbidden")
        if closed == "gated" and verb == "resolve":
            return self.refuse(403 if token else 401, "GatedRepo", "Access is restricted")
        revision, _, below = rest.partition("/")
        commit = self.server.commit(kind, name, revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return getattr(self, verb.replace("-", "_"))(name, commit, self.server.folder(kind, name, commit), below)

    def revision(self, name, commit, folder, below) -> None:
        files = [
            {"rfilename": path.relative_to(folder).as_posix()} for path in sorted(folder.rglob("*")) if path.is_file()
        ]
        self.give(
            {"id": name, "sha": commit, "siblings": files, "private": False, "tags": [], "downloads": 0, "likes": 0}
        )

    def tree(self, name, commit, folder, below) -> None:
        found = sorted(path for path in (folder / below).rglob("*"))
        self.give([self.entry(folder, path) for path in found] if (folder / below).exists() else [])

    def paths_info(self, name, commit, folder, below) -> None:
        wanted = json.loads(self.body)["paths"] if self.body.startswith(b"{") else []
        self.give([self.entry(folder, folder / path) for path in wanted if (folder / path).exists()])

    def entry(self, folder, path) -> dict:
        inside = path.relative_to(folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": inside, "oid": "0" * 40, "size": 0}
        return {
            "type": "file",
            "path": inside,
            "size": path.stat().st_size,
            "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
        }

    def resolve(self, name, commit, folder, below) -> None:
        path = folder / below
        if not path.is_file():
            return self.say(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        etag = f'"{hashlib.sha1(path.read_bytes()).hexdigest()}"'
        self.say(200, path.read_bytes(), ETag=etag, X_Repo_Commit=commit, Accept_Ranges="bytes")


def forget() -> None:
    """What a new process would not know of the Hub."""
    from plmc.data import reach, snapshots

    snapshots.snapshot.cache_clear()
    snapshots.weights.cache_clear()
    reach._known.clear()
