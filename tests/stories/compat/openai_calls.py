"""A customer's program: what the OpenAI SDK says to the address it is given, printed as JSON.

Run as a program of its own, so that any release of the SDK can be put on its path. Arguments: base URL, key, model.
"""

import asyncio
import json
import sys

import openai


def sync_calls(base_url: str, key: str, model: str) -> dict[str, object]:
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    one = client.embeddings.create(model=model, input="hello")
    many = client.embeddings.create(model=model, input=["b", "a"], encoding_format="float", user="u-1")
    raw = client.embeddings.with_raw_response.create(model=model, input="hello")
    refused = None
    try:
        openai.OpenAI(base_url=base_url, api_key="gr_live_wrong", max_retries=0).embeddings.create(
            model=model, input="x"
        )
    except openai.AuthenticationError as error:
        refused = {"status": error.status_code, "code": error.code, "type": error.type, "request_id": error.request_id}
    unknown = None
    try:
        client.models.retrieve("nobody/nothing")
    except openai.NotFoundError as error:
        unknown = error.code
    return {
        "one": one.data[0].embedding,
        "usage": one.usage.model_dump(),
        "many": [item.embedding for item in many.data],
        "order": [item.index for item in many.data],
        "request_id": one._request_id,
        "raw_request_id": raw.headers["x-request-id"],
        "raw": raw.parse().data[0].embedding,
        "models": [item.id for item in client.models.list()],
        "model": client.models.retrieve(model).model_dump(),
        "refused": refused,
        "unknown": unknown,
    }


async def async_calls(base_url: str, key: str, model: str) -> dict[str, object]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        answers = await asyncio.gather(*(client.embeddings.create(model=model, input=f"text {n}") for n in range(8)))
        models = [item.id async for item in client.models.list()]
        return {"many": [answer.data[0].embedding for answer in answers], "models": models}


if __name__ == "__main__":
    said = sync_calls(*sys.argv[1:]), asyncio.run(async_calls(*sys.argv[1:]))
    print(json.dumps({"version": openai.__version__, "sync": said[0], "async": said[1]}))
