"""An embedding server of somebody else's making: sentence-transformers behind OpenAI's wire, in a process of its own.

Usage: python -m tests.harness.other_server FOLDER. It says its port on the first line.
"""

import base64
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer


class Body(BaseModel):
    model: str
    input: str | list[str]
    encoding_format: str = "float"


def main() -> None:
    encoder = SentenceTransformer(sys.argv[1], device="cpu")
    app = FastAPI()

    @app.post("/v1/embeddings")
    def embeddings(body: Body) -> dict[str, Any]:
        texts = [body.input] if isinstance(body.input, str) else body.input
        vectors = encoder.encode(texts, normalize_embeddings=True).astype("<f4")
        tokens = int(encoder.tokenize(texts)["attention_mask"].sum())
        rows = [
            base64.b64encode(row.tobytes()).decode() if body.encoding_format == "base64" else row.tolist()
            for row in vectors
        ]
        data = [{"object": "embedding", "index": number, "embedding": row} for number, row in enumerate(rows)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": body.model, "usage": usage}

    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
