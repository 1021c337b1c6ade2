"""What a customer's URL leads to is judged when it is connected to: a name of an inner address is reached by nobody."""

from typing import Any

import pytest

from gigarouter.webhook_job import SendWebhooks
from tests.harness.served_api import ServedApi
from tests.harness.webhook_receiver import webhook_receiver

pytestmark = pytest.mark.anyio


async def test_a_name_that_leads_inside_is_not_reached_though_providers_there_are(api: ServedApi) -> None:
    async def ask(method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {api.key}"}
        answer = await api.client.request(method, f"/v1/account/webhooks{path}", headers=headers, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    with webhook_receiver() as receiver:
        url = receiver.url.replace("http://127.0.0.1", "https://localhost")
        hook = await ask("POST", "", {"url": url})
        await ask("POST", f"/{hook['id']}/test")
        await SendWebhooks()(api.context)
        (delivery,) = (await ask("GET", f"/{hook['id']}/deliveries"))["data"]
        assert (delivery["state"], delivery["attempts"], delivery["status"]) == ("waiting", 1, None)
        assert delivery["fault"].startswith("its address must not be reached: it is "), delivery
        assert receiver.received == []
