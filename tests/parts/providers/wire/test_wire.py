"""The outgoing connection against servers that misbehave: nothing hangs, nothing is mistaken for an answer."""

import asyncio
import json
import time

import pytest

from providers.outcomes import Broken, ConnectFailed, Failure, TimedOut
from providers.wire import Bounds
from tests.harness.channels import BODY, CAP, a_channel, ask
from tests.harness.event_loops import Run
from tests.harness.fake_upstream import Reply, Upstream


def head(*lines: str, status: int = 200) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} OK", *lines, "", "")).encode()


def test_calls_one_after_another_share_a_connection_and_send_one_whole_request_each(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            for _ in range(3):
                answer = await ask(channel)
                assert answer.status == 200
                assert len(json.loads(answer.body)["data"]) == 1
            assert upstream.connections == 1
            assert [call.path for call in upstream.calls] == ["/v1/embeddings"] * 3
            assert upstream.calls[0].body == BODY
            assert set(upstream.calls[0].headers) == {
                "host",
                "user-agent",
                "accept-encoding",
                "content-type",
                "content-length",
            }
            assert upstream.calls[0].headers["accept-encoding"] == "identity"

    run(scenario())


@pytest.mark.parametrize("size", [65_430, 65_536, 90_000])
def test_large_answers_share_a_connection_too_however_much_of_them_comes_at_once(size: int, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.always = Reply(body=b"x" * size)
            for _ in range(4):
                assert len((await ask(channel)).body) == size
            assert upstream.connections == 1

    run(scenario())


HUNG = {
    "before the status line": b"",
    "in the status line": b"HTTP/1.1 20",
    "in the headers": b"HTTP/1.1 200 OK\r\ncontent-len",
    "before the body": head("content-length: 10"),
    "in the body": head("content-length: 10") + b"12345",
    "in a chunk": head("transfer-encoding: chunked") + b"5\r\n123",
    "in a body without a length": head() + b"12345",
    "after an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("phase", HUNG)
def test_a_server_that_hangs_costs_the_deadline_and_no_more(phase: str, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(raw=HUNG[phase], then_hang_s=30))
            started = time.monotonic()
            with pytest.raises(TimedOut):
                await ask(channel, 0.2)
            assert 0.15 < time.monotonic() - started < 15, "not the 30 s that it hangs"
            assert (await ask(channel)).status == 200
            assert upstream.connections == 2

    run(scenario())


def test_a_body_that_drips_costs_the_deadline_and_no_more(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(drip_s=0.01))
            with pytest.raises(TimedOut) as caught:
                await ask(channel, 0.3)
            assert "not all" in caught.value.detail

    run(scenario())


def test_the_first_byte_has_a_deadline_of_its_own_and_the_rest_the_whole(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(delay_s=30))
            with pytest.raises(TimedOut) as caught:
                await ask(channel, 5.0, first_byte_s=0.1)
            assert "first byte" in caught.value.detail
            upstream.script.append(Reply(drip_s=0.001))
            assert (await ask(channel, 5.0, first_byte_s=0.1)).status == 200

    run(scenario())


@pytest.mark.parametrize("drip_s", [0.0, 0.0002])
def test_the_deadlines_of_one_call_do_not_end_the_next_on_the_same_connection(drip_s: float, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(drip_s=drip_s, body=b"x" * 40))
            assert (await ask(channel, 0.5, first_byte_s=0.05 if drip_s else None)).status == 200
            upstream.script.append(Reply(delay_s=0.7))
            assert (await ask(channel)).status == 200
            assert upstream.connections == 1

    run(scenario())


BROKEN = {
    "closed without an answer": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "cut in the headers": b"HTTP/1.1 200 OK\r\ncontent-le",
    "cut in the body": head("content-length: 10") + b"12345",
    "cut in a chunk": head("transfer-encoding: chunked") + b"5\r\n12345\r\n5\r\n12",
    "cut before the last chunk": head("transfer-encoding: chunked") + b"5\r\n12345\r\n",
    "a chunk size that is none": head("transfer-encoding: chunked") + b"xyz\r\n12345\r\n",
    "a negative length": head("content-length: -1"),
    "a length that is none": head("content-length: ten") + b"1234567890",
    "two lengths": head("content-length: 5", "content-length: 6") + b"123456",
    "length and chunks": head("content-length: 5", "transfer-encoding: chunked") + b"5\r\n12345\r\n0\r\n\r\n",
    "gzip in the transfer encoding": head("transfer-encoding: gzip, chunked") + b"5\r\n12345\r\n0\r\n\r\n",
    "gzip": head("content-encoding: gzip", "content-length: 5") + b"\x1f\x8b\x08\x00\x00",
    "an encoding hidden behind identity": head("content-encoding: gzip", "content-encoding: identity") + b"x",
    "announced too large": head(f"content-length: {CAP + 1}"),
    "announced absurdly large": head("content-length: 99999999999999999999999"),
    "too large in chunks": head("transfer-encoding: chunked") + b"%x\r\n" % (CAP + 1) + b"x" * (CAP + 1),
    "too large without a length": head() + b"x" * (CAP + 1),
    "a huge header": head("x-filler: " + "x" * 100_000, "content-length: 0"),
    "a header that does not end": b"HTTP/1.1 200 OK\r\nx-filler: " + b"x" * 200_000,
    "many headers": head(*(f"x-{number}: {number}" for number in range(20_000)), "content-length: 0"),
    "switching protocols": head("upgrade: h2c", "connection: upgrade", status=101),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_not_a_whole_honest_answer_is_a_failure_and_is_not_asked_again(fault: str, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(raw=BROKEN[fault]))
            with pytest.raises(Broken):
                await ask(channel)
            assert len(upstream.calls) == 1
            assert (await ask(channel)).status == 200

    run(scenario())


@pytest.mark.parametrize("fault", ["gzip", "announced too large", "gzip in the transfer encoding", "many headers"])
def test_what_the_headers_give_away_is_refused_without_waiting_for_the_body(fault: str, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(raw=BROKEN[fault][:100_000], then_hang_s=30))
            with pytest.raises(Broken):
                await ask(channel)

    run(scenario())


def test_an_answer_cut_anywhere_is_never_taken_for_one(run: Run) -> None:
    async def scenario() -> None:
        body = b'{"data": [' + b"1" * 20_000 + b"]}"
        framed = head(f"content-length: {len(body)}") + body
        chunked = head("transfer-encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        async with Upstream() as upstream, a_channel(upstream) as channel:
            for answer in (framed, chunked):
                cuts = {*range(1, 80), *range(80, len(answer), 701), *range(len(answer) - 12, len(answer))}
                for cut in sorted(cuts):
                    upstream.script.append(Reply(raw=answer[:cut]))
                    with pytest.raises(Failure):
                        await ask(channel)

    run(scenario())


@pytest.mark.parametrize(
    "raw",
    [
        head("content-length: 5") + b"12345",
        head("transfer-encoding: chunked") + b"2\r\n12\r\n3;x=y\r\n345\r\n0\r\nx-trailer: 1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n12345",
        head("content-encoding: identity", "content-length: 5") + b"12345",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        + head("content-length: 5")
        + b"12345",
    ],
)
def test_every_honest_framing_is_understood(raw: bytes, run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(raw=raw))
            assert bytes((await ask(channel)).body) == b"12345"

    run(scenario())


def test_a_redirect_is_handed_back_not_followed(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as target, Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(status=302, headers={"location": target.base_url}))
            assert (await ask(channel)).status == 302
            assert target.connections == 0

    run(scenario())


def test_a_second_answer_to_one_request_is_never_read_as_the_next_calls(run: Run) -> None:
    async def scenario() -> None:
        twice = (head("content-length: 5") + b"first") + (head("content-length: 6") + b"poison")
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(raw=twice, then_hang_s=30))
            assert bytes((await ask(channel)).body) == b"first"
            assert b"poison" not in (await ask(channel)).body
            assert upstream.connections == 2

    run(scenario())


def test_an_unasked_answer_on_an_idle_connection_is_never_read(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(raw=head("content-length: 5") + b"first", then_hang_s=30))
            assert bytes((await ask(channel)).body) == b"first"
            upstream.push(head("content-length: 6") + b"poison")
            await asyncio.sleep(0.05)
            assert b"poison" not in (await ask(channel)).body

    run(scenario())


def test_a_connection_closed_while_idle_is_replaced_without_the_caller_noticing(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            await ask(channel)
            # The close arrives together with the next request, which the server never answers.
            upstream.script.append(Reply(raw=b""))
            assert (await ask(channel)).status == 200
            assert len(upstream.calls) == 3
            assert upstream.connections == 2

    run(scenario())


def test_after_the_first_byte_a_request_is_never_sent_again(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            await ask(channel)
            upstream.script.append(Reply(raw=b"HTTP/1.1 2"))
            with pytest.raises(Broken):
                await ask(channel)
            assert len(upstream.calls) == 2

    run(scenario())


def test_a_server_that_closes_every_connection_unanswered_gets_two_tries_and_no_more(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            await ask(channel)
            upstream.always = Reply(reset=True)
            with pytest.raises(Broken):
                await ask(channel)
            assert len(upstream.calls) == 3

    run(scenario())


def test_a_refused_connection_fails_at_once(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream:
            pass
        async with a_channel(upstream) as channel:
            started = time.monotonic()
            with pytest.raises(ConnectFailed) as caught:
                await ask(channel)
            assert "ECONNREFUSED" in caught.value.detail
            assert caught.value.step == "connect"
            assert time.monotonic() - started < 3, "it does not wait for the deadline"

    run(scenario())


def test_a_cancelled_call_closes_its_connection_and_leaks_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream, Bounds(connections=1)) as channel:
            for count in (1, 2, 3):
                upstream.script.append(Reply(delay_s=30))
                call = asyncio.ensure_future(ask(channel))
                await upstream.wait_for_calls(count)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                await asyncio.sleep(0.02)
                assert channel.open_connections == 0
            assert json.loads((await ask(channel)).body)["data"]

    run(scenario())
