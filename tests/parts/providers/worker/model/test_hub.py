"""Models from the hub: the real client against a hub of our own, which serves one repository at two commits."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from typing_extensions import override

from tests.builders import tiny_model
from tests.harness.worker_process import a_worker, start

NAME = "codefuse-ai/F2LLM-v2-tiny"
OLD, NEW = "0" * 39 + "1", "0" * 39 + "2"


class Hub:
    """The four operations of a model hub that a download uses, with a record of what was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.lies = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self, send=True)

            def do_HEAD(self) -> None:
                hub.answer(self, send=False)

            @override
            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler, *, send: bool) -> None:
        path = unquote(urlparse(handler.path).path)
        api, resolve = f"/api/models/{NAME}", f"/{NAME}/resolve/"
        if path.startswith(f"{api}/tree/"):
            return self.tree(handler)
        if path.startswith(api):
            revision = path.removeprefix(api).removeprefix("/revision/") or "main"
            commit = {"main": NEW, OLD: OLD, NEW: NEW}.get(revision)
            return self.listing(handler, commit) if commit else self.missing(handler, "RevisionNotFound")
        if path.startswith(resolve):
            commit, _, file = path.removeprefix(resolve).partition("/")
            self.asked.append(file)
            return self.file(handler, commit, file, send=send)
        return self.missing(handler, "RepoNotFound")

    def missing(self, handler: BaseHTTPRequestHandler, code: str) -> None:
        handler.send_response(404)
        handler.send_header("x-error-code", code)
        handler.send_header("content-length", "0")
        handler.end_headers()

    def tree(self, handler: BaseHTTPRequestHandler) -> None:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        entries = []
        for path in files:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            entry = {"type": "file", "oid": sha256[:40], "size": path.stat().st_size}
            entries.append(entry | {"path": str(path.relative_to(self.folder))})
        self.json(handler, entries)

    def listing(self, handler: BaseHTTPRequestHandler, commit: str) -> None:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        siblings = [{"rfilename": str(path.relative_to(self.folder)), "size": path.stat().st_size} for path in files]
        self.json(handler, {"id": NAME, "sha": commit, "siblings": siblings})

    def json(self, handler: BaseHTTPRequestHandler, content: object) -> None:
        body = json.dumps(content).encode()
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def file(self, handler: BaseHTTPRequestHandler, commit: str, file: str, *, send: bool) -> None:
        body = (self.folder / file).read_bytes()
        sha256 = hashlib.sha256(body).hexdigest()
        if self.lies and file == "model.safetensors":
            body = body[:-4] + b"\0\0\0\1"
        handler.send_response(200)
        handler.send_header("x-repo-commit", commit)
        handler.send_header("etag", f'"{sha256}"')
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        if send:
            handler.wfile.write(body)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tiny_model.build(tmp_path / "repository")
    (folder / "modeling_evil.py").write_text("raise SystemExit('code of the repository ran')\n")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "checkpoint-100").mkdir()
    (folder / "checkpoint-100" / "model.safetensors").write_bytes(b"half-trained")
    hub = Hub(folder)
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()
    thread.join()


def settings(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }


def refused(*attempts: list[str], environment: dict[str, str]) -> list[tuple[int, str]]:
    """The exit code and the sentence of each start, all of them at once."""
    processes = [start(arguments, environment) for arguments in attempts]
    ends = [(process, process.communicate(timeout=90)[1]) for process in processes]
    return [
        (process.returncode, next(line for line in said.splitlines() if line.startswith("worker: ")))
        for process, said in ends
    ]


def test_a_pinned_revision_is_downloaded_served_and_used_again_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    arguments, environment = ["--model", NAME, "--revision", OLD], settings(hub, tmp_path)
    with a_worker(*arguments, environment=environment) as worker:
        info = worker.http.get("/info").json()
        _, matrix = worker.vectors(texts=["sugar"])
        assert "%|" in "".join(worker.log), "the download shows its progress"
    assert (info["model"], info["revision"]) == (NAME, OLD)
    assert {file for file in hub.asked if file.endswith((".py", ".bin")) or "checkpoint" in file} == set()
    assert "model.safetensors" in hub.asked
    hub.server.shutdown()
    hub.server.server_close()
    with a_worker(*arguments, environment=environment) as worker:
        again = worker.http.get("/info").json()
        assert (again["revision"], again["space"]) == (OLD, info["space"])
        assert np.array_equal(worker.vectors(texts=["sugar"])[1], matrix)


def test_what_the_hub_does_not_have_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    environment = settings(hub, tmp_path)
    no_revision, no_model = ["--model", NAME, "--revision", "nothing"], ["--model", "someone/else"]
    assert refused(no_revision, no_model, environment=environment) == [
        (3, f"worker: The hub has {NAME}, but not its revision nothing."),
        (3, "worker: The hub has no model someone/else, or it is not open to this machine."),
    ]


def test_weights_that_are_not_what_the_hub_promised_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.lies = True
    ((code, sentence),) = refused(["--model", NAME], environment=settings(hub, tmp_path))
    assert code == 4
    assert "is not what the hub promised" in sentence
