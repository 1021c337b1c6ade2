"""Reads the worker's command line into one value."""

import argparse
from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True):
    """How to run the worker: everything but the model has a default."""

    model: str
    revision: str | None = None
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8090
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    max_tokens: int | None = None
    cache: Path | None = None
    split_special_tokens: bool = False
    license: tuple[str, ...] = ()
    waiver: str | None = None
    ray: bool = False
    ray_address: str | None = None
    replicas_min: int = 1
    replicas_max: int = 1
    replica_cpus: int = 1
    replica_gpus: float = 0


def parse_options(argv: list[str]) -> Options:
    """Read the arguments. Ends the process with argparse's message and code 2 where they are wrong."""
    parser = argparse.ArgumentParser(prog="gigarouter worker", description="Serve one embedding model.")
    parser.add_argument("--model", required=True, help="a folder, or a hub id as organization/name")
    parser.add_argument("--revision", help="the commit of the weights to download, or what to call a folder's")
    parser.add_argument("--name", help="the name to answer to; default: the hub id or the folder's name")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, …; auto takes a GPU where there is one")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    parser.add_argument("--threads", type=int, default=0, help="torch's CPU threads; 0 leaves torch's own choice")
    parser.add_argument("--max-tokens", type=int, help="the longest input; default: what the model's files say")
    parser.add_argument("--cache", type=Path, help="where downloads are kept; default: the hub library's place")
    parser.add_argument(
        "--split-special-tokens", action="store_true", help="read <|im_end|> in a text as plain characters"
    )
    parser.add_argument(
        "--license", action="append", default=[], help="a license claimed for the weights, besides the card's"
    )
    parser.add_argument("--waiver", help="where a waiver is recorded that lets a quantized or pruned variant be served")
    _add_ray(parser.add_argument_group("Ray Serve, for many devices and machines"))
    arguments = vars(parser.parse_args(argv))
    return Options(**arguments | {"license": tuple(arguments["license"])})


def _add_ray(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--ray", action="store_true", help="run replicas of the engine as a Ray Serve application")
    group.add_argument("--ray-address", help="the cluster to join; default: a cluster of this machine alone")
    group.add_argument("--replicas-min", type=int, default=1)
    group.add_argument(
        "--replicas-max", type=int, default=1, help="replicas are added up to this, by the requests waiting"
    )
    group.add_argument("--replica-cpus", type=int, default=1, help="cores, and torch threads, of each replica")
    group.add_argument("--replica-gpus", type=float, default=0, help="GPUs of each replica")
