"""One peer in a process of its own, told by lines on stdin what to embed; imports nothing of ours.

Usage: python peer.py sentence-transformers|infinity FOLDER BATCH_SIZE THREADS
Each line in is a JSON object {"texts": path, "vectors": path}; each line out {"wall_s": …, "cpu_s": …}.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable

import numpy as np


def sentence_transformers(folder: str, batch_size: int) -> Callable[[list[str]], np.ndarray]:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu", model_kwargs={"torch_dtype": torch.float32})
    return lambda texts: model.encode(texts, batch_size=batch_size, show_progress_bar=False)


def infinity(folder: str, batch_size: int) -> Callable[[list[str]], np.ndarray]:
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    arguments = EngineArgs(
        model_name_or_path=folder,
        engine="torch",
        device="cpu",
        dtype="float32",
        batch_size=batch_size,
        model_warmup=False,
        bettertransformer=False,
    )
    loop = asyncio.new_event_loop()
    engine = AsyncEmbeddingEngine.from_args(arguments)
    loop.run_until_complete(engine.astart())

    def embed(texts: list[str]) -> np.ndarray:
        vectors, _ = loop.run_until_complete(engine.embed(sentences=texts))
        return np.array(vectors)

    return embed


def main() -> None:
    import torch

    kind, folder, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(int(sys.argv[4]))
    embed = {"sentence-transformers": sentence_transformers, "infinity": infinity}[kind](folder, batch_size)
    embed(["warm up"] * 4)
    say({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        with open(asked["texts"]) as file:
            texts = json.load(file)
        wall, cpu = time.perf_counter(), time.process_time()
        vectors = embed(texts)
        say({"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu})
        np.save(asked["vectors"], vectors.astype(np.float32))


def say(message: dict[str, float]) -> None:
    assert sys.__stdout__ is not None
    sys.__stdout__.write(json.dumps(message) + "\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    sys.stdout = sys.stderr  # libraries print what they like, the answers go out alone
    main()
