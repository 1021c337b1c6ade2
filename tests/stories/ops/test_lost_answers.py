"""An answer that shows a key may be lost: the same request shows the same key again, and its promises are kept."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from gigarouter.commands.admin import app
from tests.harness.admin_client import DUMP, Operator, admin_command
from tests.harness.faulty_proxies import End, Proxies
from tests.harness.processes import Product

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def account(ops: Operator) -> str:
    return str(ops("POST", "/accounts", {"name": "Losers"}, 201)["id"])


def new_key(ops: Operator, account: str, **headers: str) -> tuple[str, str]:
    """The path of a key and its text."""
    key = ops("POST", "/keys", {"account": account}, 201, **headers)
    return f"/keys/{key['id']}", key["key"]


def works(product: Product, key: str) -> bool:
    """Whether a customer's official client may call with it, once every change has arrived."""
    with openai.OpenAI(base_url=product.url, api_key=key, max_retries=0) as client:
        try:
            client.get("/account", cast_to=object)
        except openai.AuthenticationError:
            return False
    return True


def test_a_rotation_is_repeated_and_gives_the_same_secret_again(product: Product, ops: Operator, account: str) -> None:
    path, old = new_key(ops, account)
    body = {"overlap_hours": 72}
    first = ops.ask("POST", f"{path}/rotate", body, idempotency_key="lost")
    again = ops.ask("POST", f"{path}/rotate", body, idempotency_key="lost")
    assert again.status_code == 200
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    product.wait_until_known(first.json()["key"])
    assert works(product, old)
    other = ops("POST", f"{path}/rotate", {"overlap_hours": 1}, 422, idempotency_key="lost")
    assert other["error"]["code"] == "idempotency_mismatch"
    # A day later outcomes are gone, but the old secret works on, and so this one can still be asked for.
    shift(product, "idempotency", "expires_at", -timedelta(hours=71))
    assert ops("POST", f"{path}/rotate", body, idempotency_key="lost")["key"] == first.json()["key"]
    shift(product, "idempotency", "expires_at", -timedelta(hours=2))
    assert ops("POST", f"{path}/rotate", body, idempotency_key="lost")["key"] != first.json()["key"]


def shift(product: Product, table: str, column: str, by: timedelta) -> None:
    """Time passes for the rows of a table."""
    product.database.rows(f"UPDATE {table} SET {column} = {column} + $1", by)


def test_keys_of_customers_and_operators_are_made_once_and_shown_again(
    product: Product, ops: Operator, account: str
) -> None:
    body = {"account": account, "name": "lost"}
    made = [ops("POST", "/keys", body, 201, idempotency_key="made") for _ in range(3)]
    assert made[1:] == made[:1] * 2
    assert made[0]["key"].startswith("gr_live_")
    assert works(product, product.wait_until_known(made[0]["key"]))
    assert (
        ops("POST", "/keys", body | {"name": "x"}, 422, idempotency_key="made")["error"]["param"] == "Idempotency-Key"
    )
    assert ops("GET", f"/keys/{made[0]['id']}")["key"] is None

    # On the machine, where alone an operator's key is made, and where the Idempotency-Key is the user's.
    command = ("operators", "create", "lost@example.com", "--role", "ops", "--idempotency-key", "made")
    one, two = (admin_command(product.environment, *command) for _ in range(2))
    assert one == two
    Operator(ops.url, one["key"])("GET", "/accounts")
    rotate = ("keys", "rotate", made[0]["id"], "--idempotency-key", "made-too")
    one, two = (admin_command(product.environment, *rotate) for _ in range(2))
    assert one == two
    # An operator's Idempotency-Key is the operator's own: it shows nothing to another.
    theirs = ops("POST", f"/keys/{made[0]['id']}/rotate", {}, idempotency_key="made-too")
    assert theirs["key"] not in (one["key"], None)


def test_many_repeat_at_once_and_get_one_secret_and_many_rotate_and_each_is_true(
    product: Product, ops: Operator, account: str
) -> None:
    path, old = new_key(ops, account)

    def rotate(idempotency_key: str) -> dict[str, Any]:
        rotated: dict[str, Any] = ops("POST", f"{path}/rotate", {"overlap_hours": 1}, idempotency_key=idempotency_key)
        return rotated

    with ThreadPoolExecutor(8) as crowd:
        same = list(crowd.map(rotate, ["one"] * 8))
        others = list(crowd.map(rotate, [f"other-{number}" for number in range(8)]))
    assert len({answer["key"] for answer in same}) == 1
    assert len({answer["key"] for answer in others}) == 8
    secrets = [old, same[0]["key"], *(answer["key"] for answer in others)]
    newest = max(others, key=lambda answer: answer["old_secrets"][-1]["works_until"])["key"]
    product.wait_until_known(newest)
    assert all(works(product, secret) for secret in secrets)
    assert len(ops("GET", path)["old_secrets"]) == 9


def test_no_rotation_takes_back_what_an_earlier_one_said(product: Product, ops: Operator, account: str) -> None:
    path, first = new_key(ops, account)
    long = ops("POST", f"{path}/rotate", {"overlap_hours": 72})
    short = ops("POST", f"{path}/rotate", {"overlap_hours": 1})
    at_once = ops("POST", f"{path}/rotate", {"overlap_hours": 0})
    assert works(product, product.wait_until_known(at_once["key"]))
    assert works(product, first), "72 hours were said"
    assert works(product, long["key"]), "an hour was said"
    assert not works(product, short["key"]), "its rotation said that it ends at once"
    assert at_once["old_secret_works_until"] is None
    ends = [short["old_secret_works_until"], long["old_secret_works_until"]]
    assert [one["works_until"] for one in ops("GET", path)["old_secrets"]] == ends

    tag = ops.ask("GET", path).headers["etag"]
    shift(product, "old_secrets", "works_until", -timedelta(hours=1))
    assert ops("GET", path)["old_secrets"][0]["works_until"] > datetime.now(UTC).isoformat()
    assert ops.ask("GET", path).headers["etag"] == tag, "time alone is nobody's change"
    ops("POST", f"{path}/pause")
    ops("POST", f"{path}/resume")
    product.wait_until_known(at_once["key"])
    assert works(product, first)
    assert not works(product, long["key"])

    # One that leaked is ended on purpose.
    ended = ops("POST", f"{path}/end-old-secrets")
    assert (ended["old_secrets"], ended["old_secret_works_until"], ended["key"]) == ([], None, None)
    until = datetime.now(UTC) + timedelta(seconds=1)
    while works(product, first) and datetime.now(UTC) < until:
        pass
    assert not works(product, first)
    assert works(product, at_once["key"])


def test_a_key_has_a_bounded_number_of_old_secrets_and_a_revoked_one_has_none(ops: Operator, account: str) -> None:
    path, _ = new_key(ops, account)
    for _ in range(10):
        ops("POST", f"{path}/rotate", {"overlap_hours": 72})
    refused = ops("POST", f"{path}/rotate", {"overlap_hours": 72}, 409)["error"]["message"]
    assert "10 old secrets of this key still work, the first of them until 20" in refused
    assert "end-old-secrets" in refused
    assert len(ops("POST", f"{path}/rotate", {"overlap_hours": 0})["old_secrets"]) == 10
    assert ops("POST", f"{path}/revoke")["old_secrets"] == []
    for action in ("rotate", "end-old-secrets"):
        assert "final" in ops("POST", f"{path}/{action}", expects=409)["error"]["message"]


def test_an_old_secret_is_never_said_to_outlive_its_key(ops: Operator, account: str) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="seconds").replace("+00:00", "Z")
    key = ops("POST", "/keys", {"account": account, "expires_at": soon}, 201)
    rotated = ops("POST", f"/keys/{key['id']}/rotate", {"overlap_hours": 24})
    assert rotated["old_secret_works_until"] == soon
    assert rotated["old_secrets"] == [{"works_until": soon}]


def test_what_is_shown_again_is_sealed_outlives_its_secret_key_by_resealing_and_is_erased(
    product: Product, ops: Operator, account: str
) -> None:
    path, _ = new_key(ops, account, idempotency_key="sealed")
    shown = [ops("POST", f"{path}/rotate", {}, idempotency_key="sealed")["key"] for _ in range(2)]
    create = ("keys", "create", account, "--name", "sealed", "--idempotency-key", "sealed")
    shown.append(admin_command(product.environment, *create)["key"])
    dump = subprocess.run(
        [sys.executable, "-c", DUMP, product.database_url], capture_output=True, text=True, check=True
    ).stdout
    log = product.serves[0].log.read_text()
    assert '"sealed"' in dump
    for key in shown:
        secret = key.split("_")[3]
        for form in (secret, secret.encode().hex()):
            assert form not in dump
            assert form not in log

    keys = f"{Fernet.generate_key().decode()},{product.secret_key}"
    renewed = product.environment | {"GIGAROUTER_SECRET_KEYS": keys}
    assert admin_command(renewed, "providers", "reseal")["answers"] >= 3
    assert admin_command(renewed, *create)["key"] == shown[-1]
    # The processes that still have the old key alone cannot read it any more, and say so.
    gone = ops("POST", f"{path}/rotate", {}, 422, idempotency_key="sealed")["error"]
    assert (gone["code"], gone["param"]) == ("idempotency_result_gone", "Idempotency-Key")

    shift(product, "idempotency", "expires_at", -4 * DAY)
    shift(product, "old_secrets", "works_until", -5 * DAY)
    with_jobs = Product(product.folder, product.database_url, product.redis_url, serves=0)
    with with_jobs:
        until = datetime.now(UTC) + timedelta(seconds=20)
        while datetime.now(UTC) < until and left(product):
            pass
    assert left(product) == 0


def left(product: Product) -> int:
    """How many rows have something that was to be erased."""
    query = "SELECT (SELECT count(*) FROM idempotency WHERE sealed IS NOT NULL) + (SELECT count(*) FROM old_secrets)"
    return int(product.database.value(query))


def test_a_command_whose_answer_is_lost_shows_the_key_all_the_same(
    product: Product, ops: Operator, account: str
) -> None:
    lost: list[bytes] = []

    def loses_each_key_once(head: bytes, body: bytes) -> Iterable[bytes | float | End]:
        if (shown := re.search(rb"gr_live_\w{48}", body)) and shown[0] not in lost:
            lost.append(shown[0])
            return [End.RESET]
        return [head + body]

    def typed(port: int, *arguments: str) -> str:
        environment = {"GIGAROUTER_OPERATOR_KEY": ops.key, "DATABASE_URL": ""}
        result = CliRunner().invoke(app, ("--url", f"http://127.0.0.1:{port}", *arguments), env=environment)
        assert result.exit_code == 0, result.output
        return str(json.loads(result.stdout)["key"])

    with Proxies(product.serves[0].admin_port, {"lossy": loses_each_key_once}) as proxies:
        made = typed(proxies["lossy"].port, "keys", "create", account, "--name", "from afar")
        key_id = ops("GET", f"/keys?account={account}&limit=1")["data"][0]["id"]
        rotated = typed(proxies["lossy"].port, "keys", "rotate", key_id)
    assert [made.encode(), rotated.encode()] == lost
    assert works(product, product.wait_until_known(rotated))
    assert works(product, made)
    assert len(ops("GET", f"/keys/{key_id}")["old_secrets"]) == 1, "rotated once"


def test_a_dry_run_shows_and_stores_nothing(ops: Operator, account: str) -> None:
    path, _ = new_key(ops, account)
    assert ops("POST", f"{path}/rotate?dry_run=1", {}, idempotency_key="dry")["key"] is None
    assert ops("GET", path)["old_secrets"] == []
    assert ops("POST", f"{path}/rotate", {}, idempotency_key="dry")["key"] is not None
