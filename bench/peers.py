"""The peers, each in an environment of its own under ``bench/out``: nginx as the floor, LiteLLM, Portkey.

Each does less than we do: they check a key at most, and record nothing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.machine import SYSTEM_CORE, end, free_port, on_core
from bench.targets import Running, Unavailable, first_answer, request_body
from bench.upstream import Upstream, start_nginx

LITELLM = "litellm[proxy]==1.106.2"
PORTKEY = "@portkey-ai/gateway@1.15.2"


class Direct:
    """The stub itself: what is added is measured from here."""

    name = "direct"

    def start(self, upstream: Upstream, encoding: str, folder: Path) -> Running:
        url = upstream.url(encoding) + "/embeddings"
        body = request_body("bench", encoding)
        return Running(self.name, url, {}, body, [], [], first_answer(url, {}, body), lambda: None)


class Nginx:
    """The floor: nginx ``proxy_pass`` with kept-alive upstream connections, one worker."""

    name = "nginx"

    def start(self, upstream: Upstream, encoding: str, folder: Path) -> Running:
        port = free_port()
        origin = upstream.url(encoding).removesuffix("/v1")
        servers = f"""
          upstream stub {{ server {origin.removeprefix("http://")}; keepalive 256; keepalive_requests 1000000000; }}
          server {{
            listen 127.0.0.1:{port};
            location / {{
              proxy_pass http://stub; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_buffers 8 64k; proxy_buffer_size 64k;
            }}
          }}"""
        pid = start_nginx(folder, servers, SYSTEM_CORE)
        return _started(self.name, f"http://127.0.0.1:{port}/v1/embeddings", {}, request_body("bench", encoding), pid)


class LiteLLM:
    """LiteLLM's proxy, one worker, its master key as the only check, no database, no Redis."""

    name = "litellm"

    def start(self, upstream: Upstream, encoding: str, folder: Path) -> Running:
        home = folder.parent / "litellm"
        if not (home / "bin" / "litellm").exists():
            _run([sys.executable, "-m", "venv", str(home)])
            _run([str(home / "bin" / "pip"), "install", "-q", LITELLM])
        config = folder / "config.yaml"
        config.write_text(
            "model_list:\n"
            "  - model_name: bench\n"
            "    litellm_params: {model: openai/bench, api_base: '" + upstream.url(encoding) + "', api_key: none}\n"
            "general_settings: {master_key: sk-bench}\n"
        )
        port = free_port()
        environment = dict(os.environ) | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        command = [str(home / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        pid = _spawn([*command, "--num_workers", "1", "--telemetry", "False"], environment, folder)
        headers = {"authorization": "Bearer sk-bench"}
        return _started(
            self.name, f"http://127.0.0.1:{port}/v1/embeddings", headers, request_body("bench", encoding), pid
        )


class Portkey:
    """Portkey's gateway on Node, through its ``mistral-ai`` provider.

    Its ``openai`` provider answers 500 on Node 20 and 22 ("TypeError: immutable"), with a stock upstream.
    """

    name = "portkey"

    def start(self, upstream: Upstream, encoding: str, folder: Path) -> Running:
        home = folder.parent / "portkey"
        program = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        if shutil.which("node") is None:
            raise Unavailable("node is not installed")
        if not program.exists():
            home.mkdir(parents=True, exist_ok=True)
            _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(home), PORTKEY])
        port = free_port()
        environment = dict(os.environ) | {"NODE_ENV": "production"}
        pid = _spawn(["node", str(program), f"--port={port}", "--headless"], environment, folder)
        headers = {
            "authorization": "Bearer none",
            "x-portkey-provider": "mistral-ai",
            "x-portkey-custom-host": upstream.url(encoding),
        }
        return _started(
            self.name, f"http://127.0.0.1:{port}/v1/embeddings", headers, request_body("bench", encoding), pid
        )


def _started(name: str, url: str, headers: dict[str, str], body: dict[str, object], pid: int) -> Running:
    try:
        cold_start_s = first_answer(url, headers, body)
    except Unavailable:
        end([pid])
        raise
    return Running(name, url, headers, body, [pid], [pid], cold_start_s, lambda: end([pid]))


def _spawn(command: list[str], environment: dict[str, str], folder: Path) -> int:
    with on_core(SYSTEM_CORE), (folder / "log.txt").open("w") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log).pid


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)} failed: {done.stderr[-300:]}")
