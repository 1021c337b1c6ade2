"""The pool of outgoing connections: bounded, fair, and nothing is kept that should be closed."""

import asyncio
import contextlib
import socket
import time

import pytest

from providers.outcomes import Overloaded
from providers.wire import Answer, Bounds, Pool, parse_origin
from tests.builders.providers import LOOPBACK
from tests.harness.channels import a_channel, ask
from tests.harness.event_loops import Run
from tests.harness.fake_upstream import Reply, Upstream


def test_no_more_connections_than_allowed_and_nobody_waits_for_ever(run: Run) -> None:
    async def scenario() -> None:
        bounds = Bounds(connections=2, turn_s=0.25)
        async with Upstream() as upstream, a_channel(upstream, bounds) as channel:
            upstream.always = Reply(delay_s=0.1)
            calls = await asyncio.gather(*(ask(channel) for _ in range(8)), return_exceptions=True)
            served = [call for call in calls if isinstance(call, Answer)]
            refused = [call for call in calls if isinstance(call, Overloaded)]
            assert 4 <= len(served) <= 6
            assert len(served) + len(refused) == 8
            assert upstream.most_in_flight == 2
            upstream.always = Reply()
            for _ in range(5):
                assert (await ask(channel)).status == 200
            assert upstream.connections == 2

    run(scenario())


def test_a_call_cancelled_in_the_moment_of_its_turn_passes_the_turn_on(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream, Bounds(connections=1)) as channel:
            upstream.script.append(Reply(delay_s=0.05))
            first, second = (asyncio.ensure_future(ask(channel)) for _ in range(2))
            pass_turn = channel._pass_turn

            def pass_turn_and_cancel() -> None:
                pass_turn()
                second.cancel()

            channel._pass_turn = pass_turn_and_cancel  # type: ignore[method-assign]
            await first
            with pytest.raises(asyncio.CancelledError):
                await second
            channel._pass_turn = pass_turn  # type: ignore[method-assign]
            assert (await ask(channel)).status == 200

    run(scenario())


def test_a_dead_address_costs_a_quarter_of_a_second_when_another_one_lives(run: Run) -> None:
    async def scenario() -> None:
        async def lookup(host: str, port: int) -> list[str]:
            return ["127.0.0.3", "127.0.0.2", "127.0.0.1"]

        with contextlib.ExitStack() as sockets:
            async with Upstream() as upstream:
                # A full backlog leaves further connects unanswered; nobody listens on 127.0.0.3.
                deaf = sockets.enter_context(socket.socket())
                deaf.bind(("127.0.0.2", upstream.port))
                deaf.listen(0)
                for _ in range(3):
                    full = sockets.enter_context(socket.socket())
                    full.setblocking(False)
                    full.connect_ex(("127.0.0.2", upstream.port))
                pool = Pool(lookup=lookup)
                channel = pool.channel(parse_origin(f"http://provider.example:{upstream.port}/v1", LOOPBACK))
                started = time.monotonic()
                assert (await ask(channel)).status == 200
                assert 0.2 < time.monotonic() - started < 3, "it does not wait for the deaf one"
                await pool.close()

    run(scenario())


def test_idle_connections_are_closed_after_a_while(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream, Bounds(idle_s=0.5)) as channel:
            await asyncio.gather(*(ask(channel) for _ in range(4)))
            assert channel.open_connections == 4
            await asyncio.sleep(0.7)
            assert channel.open_connections == 0

    run(scenario())


def test_a_closed_channel_finishes_what_runs_and_keeps_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with Upstream() as upstream, a_channel(upstream) as channel:
            upstream.script.append(Reply(delay_s=0.1))
            call = asyncio.ensure_future(ask(channel))
            await upstream.wait_for_calls(1)
            channel.close()
            assert (await call).status == 200
            assert (await ask(channel)).status == 200
            await asyncio.sleep(0.02)
            assert channel.open_connections == 0

    run(scenario())
