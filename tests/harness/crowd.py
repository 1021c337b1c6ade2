"""Senders of bodies of 4 MB that lack their last byte, in a process of their own: its buffers do not count as ours."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PROGRAM = """
import socket, sys, threading
port, bodies, path, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
size = 4 * 1024 * 1024
head = f"POST {path} HTTP/1.1\\r\\nhost: a\\r\\ncontent-length: {size}\\r\\n"
head += f"content-type: application/json\\r\\nauthorization: Bearer {key}\\r\\n\\r\\n"
def send(s):
    try:
        s.sendall(head.encode() + b"x" * (size - 1))
    except OSError:
        pass
sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(bodies)]
threads = [threading.Thread(target=send, args=(s,)) for s in sockets]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("sent", flush=True)
sys.stdin.read()
"""


@contextmanager
def crowd(port: int, bodies: int, path: str = "/", key: str = "none") -> "Iterator[subprocess.Popen[bytes]]":
    """So many senders at once; the process says a line when all that is taken has been sent, and goes at the end."""
    program = [sys.executable, "-c", PROGRAM, str(port), str(bodies), path, key]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as senders:
        try:
            yield senders
        finally:
            senders.kill()
