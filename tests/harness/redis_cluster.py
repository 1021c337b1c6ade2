"""A real Redis Cluster for tests and benches: three primaries on loopback, joined by commands."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from store.embedded.redis_server import redis_program
from store.processes import spawn, tail
from tests.harness.processes import free_port

SLOTS = 16_384
READY_WITHIN_S = 30.0
# The cluster's own bus listens on the port plus this.
BUS = 10_000


class Node:
    """One primary: killed, wiped and started again with its identity or without."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.log = folder / "redis.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Any:
        """A plain client of this node alone; a fresh one each time, since the node may have been restarted."""
        return redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=5)

    @property
    def pid(self) -> int:
        assert self._child is not None, "the node was never started"
        return self._child.pid

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": "2000",
            # A replica stands for election however long its primary has been gone: on a busy machine some are lost, and
            # by default it gives up 30 s after its primary.
            "cluster-replica-validity-factor": "0",
            # The slots of a lost primary are gone, the others' are served on.
            "cluster-require-full-coverage": "no",
            "maxmemory-policy": "noeviction",
            "appendonly": "no",
            "save": "",
        }
        argv: list[str | Path] = [redis_program()]
        for name, value in options.items():
            argv += [f"--{name}", value]
        self._child = spawn(argv, log=self.log, cwd=self.folder)
        wait_until(self.answers, f"node {self.port} answers; its log ends:\n{tail(self.log)}")

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """kill -9: with nothing on disk but its place in the cluster, all keys and scripts are gone."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def freeze(self) -> None:
        """It keeps its connections and says nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        self.kill()


class RedisCluster:
    """``with RedisCluster(folder) as cluster: cluster.url``. ``nodes`` are the primaries that it starts with."""

    def __init__(self, folder: Path, primaries: int = 3) -> None:
        self._folder = folder
        self.nodes = [Node(folder / f"node-{port}", port) for port in _ports(primaries)]
        self._replicas: list[Node] = []

    @property
    def url(self) -> str:
        """The first node; a client finds the others."""
        return f"redis://127.0.0.1:{self.nodes[0].port}"

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            self._join()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for node in [*self.nodes, *self._replicas]:
            node.stop()

    def add_replica(self, primary: Node) -> Node:
        """Start a node that follows ``primary`` and takes its place when it dies."""
        (port,) = _ports(1)
        replica = Node(self._folder / f"node-{port}", port)
        self._replicas.append(replica)
        replica.start()
        replica.client.execute_command("CLUSTER MEET", "127.0.0.1", primary.port)
        primary_id = bytes(primary.client.execute_command("CLUSTER MYID"))
        wait_until(lambda: _follows(replica, primary_id), "the replica follows its primary")
        wait_until(lambda: any(len(each) > 3 for each in self.slots()), "the replica is known")
        wait_until(
            lambda: bool(replica.client.info("replication")["master_link_status"] == "up"),
            "the replica has its primary's data",
        )
        return replica

    def _join(self) -> None:
        each = -(-SLOTS // len(self.nodes))
        for number, node in enumerate(self.nodes):
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            node.client.execute_command("CLUSTER ADDSLOTS", *range(number * each, min(SLOTS, (number + 1) * each)))
        for node in self.nodes[1:]:
            self.nodes[0].client.execute_command("CLUSTER MEET", "127.0.0.1", node.port)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Until every node knows an owner of every slot."""
        wait_until(
            lambda: all(_is_whole(node, len(self.nodes)) for node in self.nodes), "the cluster knows all of its slots"
        )

    def slot_of(self, key: str) -> int:
        """By the server's own word, not by the client's under test."""
        return int(self.nodes[-1].client.execute_command("CLUSTER KEYSLOT", key))

    def node_of(self, key: str) -> Node:
        """The primary that owns a key, by its own word."""
        slot = self.slot_of(key)
        owners = [primary[1] for first, last, primary, *_ in self.slots() if first <= slot <= last]
        return next(node for node in [*self.nodes, *self._replicas] if node.port in owners)

    def slots(self) -> list[Any]:
        """A node's answer to CLUSTER SLOTS, unread."""
        client = self.nodes[-1].client
        client.response_callbacks.pop("CLUSTER SLOTS", None)
        found: list[Any] = client.execute_command("CLUSTER SLOTS")
        return found

    def begin_move(self, slot: int, source: Node, target: Node) -> None:
        """Hand over the keys of a slot, as a resharding does: the source still owns it, and redirects (``ASK``)."""
        source_id, target_id = (bytes(node.client.execute_command("CLUSTER MYID")) for node in (source, target))
        target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
        source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        for key in source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 10_000):
            source.client.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5_000)

    def end_move(self, slot: int, target: Node) -> None:
        """The target owns the slot from now on; the others say so (``MOVED``)."""
        target_id = bytes(target.client.execute_command("CLUSTER MYID"))
        for node in [target, *(each for each in self.nodes if each is not target)]:
            node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Until ``holds``; fails with ``what``."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {READY_WITHIN_S:g} s: {what}"
        time.sleep(0.05)


def _follows(replica: Node, primary_id: bytes) -> bool:
    try:
        replica.client.execute_command("CLUSTER REPLICATE", primary_id)
    except redis.ResponseError:
        return False  # It has not heard of that node yet.
    return True


def _is_whole(node: Node, primaries: int) -> bool:
    raw = node.client.execute_command("CLUSTER INFO")
    info = raw if isinstance(raw, dict) else dict(line.split(":", 1) for line in bytes(raw).decode().split())
    return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", str(primaries))


def _ports(count: int) -> list[int]:
    """Free ports whose bus ports are free."""
    found: list[int] = []
    while len(found) < count:
        port = free_port()
        with socket.socket() as bus:
            try:
                bus.bind(("127.0.0.1", port + BUS))
            except OSError:
                continue
        found.append(port)
    return found
