"""The stub upstream: nginx that answers every request with one stored embedding, as floats or as base64.

It costs the load core about 20 microseconds an answer, so that the system under test is always the slower one.
"""

import base64
import json
import math
import os
import random
import struct
import subprocess
from pathlib import Path

import msgspec

from bench.machine import LOAD_CORE, end, free_port, on_core

DIMENSIONS = 1536
TOKENS = 8

CONFIG = """
{user}
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log error; daemon off;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type application/json;
  open_file_cache max=10; client_body_buffer_size 64k; client_max_body_size 8m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {servers}
}}
"""

SERVER = """
  server {{
    listen 127.0.0.1:{port}; root {folder};
    location / {{ error_page 405 =200 /{name}.json; try_files /{name}.json =404; }}
  }}
"""


class Upstream(msgspec.Struct, frozen=True):
    """Where the stub listens; one port per encoding, because nginx cannot look into a body."""

    pid: int
    float_port: int
    base64_port: int

    def url(self, encoding: str) -> str:
        """Base URL, with ``/v1``, of the server that answers in ``encoding``."""
        return f"http://127.0.0.1:{self.base64_port if encoding == 'base64' else self.float_port}/v1"

    def stop(self) -> None:
        end([self.pid])


def start(folder: Path) -> Upstream:
    """Write the answers and start nginx on the load core."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = {"float": free_port(), "base64": free_port()}
    for name in ports:
        (folder / f"{name}.json").write_bytes(answer(name))
    servers = "".join(SERVER.format(port=port, folder=folder, name=name) for name, port in ports.items())
    pid = start_nginx(folder, servers, LOAD_CORE)
    return Upstream(pid, ports["float"], ports["base64"])


def start_nginx(folder: Path, servers: str, core: int) -> int:
    """Start an nginx of our own, pinned, with its files in ``folder``; returns its process id."""
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(CONFIG.format(folder=folder, servers=servers, user=user))
    with on_core(core):
        process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(config)], stderr=subprocess.DEVNULL)
    return process.pid


def answer(encoding: str) -> bytes:
    """An OpenAI embeddings answer with one vector of unit length: about 33 KB as floats, 8 KB as base64."""
    numbers = random.Random(1)
    raw = [numbers.gauss(0, 1) for _ in range(DIMENSIONS)]
    norm = math.sqrt(sum(x * x for x in raw))
    packed = struct.pack(f"<{DIMENSIONS}f", *(x / norm for x in raw))
    vector: object = base64.b64encode(packed).decode()
    if encoding == "float":
        vector = struct.unpack(f"<{DIMENSIONS}f", packed)
    item = {"object": "embedding", "index": 0, "embedding": vector}
    usage = {"prompt_tokens": TOKENS, "total_tokens": TOKENS}
    return json.dumps({"object": "list", "data": [item], "model": "bench", "usage": usage}).encode()
