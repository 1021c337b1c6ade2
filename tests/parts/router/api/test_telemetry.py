"""What must not be logged is not, however it gets into an event; what is logged is one object per line."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gigarouter import telemetry
from gigarouter.telemetry.meters import Buckets

SECRET = "canary4711canary4711canary4711ab"
KEY = f"gr_live_handle12_{SECRET}_abcdef"


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    root = logging.getLogger()
    before = root.handlers, root.level
    out = io.BytesIO()
    telemetry.configure("info", "json", out)
    yield out
    root.handlers, root.level = before
    structlog.reset_defaults()


def _lines(log: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


@pytest.mark.parametrize(
    "event",
    [
        {"authorization": SECRET},
        {"api_key": SECRET},
        {"provider_credential": SECRET},
        {"input": [SECRET]},
        {"texts": [SECRET]},
        {"body": SECRET.encode()},
        {"settings": {"database_url": f"postgresql://u:{SECRET}@h/d"}},
        {"said": f"Incorrect API key provided: {KEY}"},
        {"said": f"Authorization: Bearer {SECRET}"},
        {"said": f"sk-{SECRET}"},
        {"said": f"redis://:{SECRET}@host:6379/0"},
        {"nested": [{"deeper": {"password": SECRET}}, (f"Bearer {SECRET}",)]},
        {"fault": ValueError(f"key {KEY}")},
    ],
    ids=str,
)
def test_a_secret_is_taken_out_wherever_it_stands(log: io.BytesIO, event: dict[str, Any]) -> None:
    structlog.get_logger("tests").info("happened", **event)
    assert SECRET.encode() not in log.getvalue()
    assert _lines(log)[0]["event"] == "happened"


def test_a_key_keeps_the_public_part_by_which_it_can_be_searched(log: io.BytesIO) -> None:
    structlog.get_logger().info("said", reason=f"unknown {KEY}")
    assert "gr_live_handle12_[redacted]" in _lines(log)[0]["reason"]


def test_an_exception_is_told_by_type_and_place_never_by_its_words(log: io.BytesIO) -> None:
    def fails() -> None:
        raise RuntimeError(SECRET)

    try:
        fails()
    except RuntimeError:
        logging.getLogger("some.library").exception("it failed")
        structlog.get_logger().exception("ours failed")
    assert SECRET.encode() not in log.getvalue()
    for line in _lines(log):
        assert line["fault"] == "RuntimeError"
        assert any(place.endswith(" fails") for place in line["place"])


def test_a_line_break_in_a_value_makes_no_second_line(log: io.BytesIO) -> None:
    structlog.get_logger().info("said", reason='x\n{"event":"forged"}\r\n')
    assert len(log.getvalue().splitlines()) == 1


def test_libraries_below_the_level_and_servers_access_logs_are_silent(log: io.BytesIO) -> None:
    logging.getLogger("some.library").debug("chatter")
    logging.getLogger("uvicorn.access").info("GET /?api_key=x")
    logging.getLogger("httpx").info("POST https://provider/?key=x")
    assert log.getvalue() == b""


def test_buckets_count_like_prometheus() -> None:
    buckets = Buckets((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 3.0):
        buckets.add(value)
    assert buckets.cumulative() == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert buckets.total == pytest.approx(3.65)
