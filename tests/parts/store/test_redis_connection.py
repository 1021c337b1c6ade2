"""A Redis whose replies come slowly is not lost; one from which nothing comes is."""

import asyncio

from store.redis_client import RedisClient, RedisUnavailable

GREETING = b"role:master\r\nrun_id:%s\r\nredis_mode:standalone\r\n" % (b"a" * 40)
TIMEOUT_S, REPLY_EVERY_S, QUEUED = 0.8, 0.2, 10


class SlowRedis:
    """Answers a PING every ``REPLY_EVERY_S``, until it ``is_silent``."""

    def __init__(self) -> None:
        self.connections = 0
        self.is_silent = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while line := await reader.readline():
                if b"INFO" in line:
                    writer.write(b"$%d\r\n%s\r\n" % (len(GREETING), GREETING))
                elif b"PING" in line:
                    await asyncio.sleep(REPLY_EVERY_S if not self.is_silent else 60)
                    writer.write(b"+PONG\r\n")
        finally:
            writer.close()


def test_a_long_queue_whose_replies_come_is_not_sent_again() -> None:
    async def story() -> None:
        async def greet(identity: str) -> None:
            assert identity == "a" * 40

        slow = SlowRedis()
        server = await asyncio.start_server(slow.serve, "127.0.0.1")
        host, port = server.sockets[0].getsockname()[:2]
        client = RedisClient(f"redis://{host}:{port}", (), greet, timeout_s=TIMEOUT_S)
        running = asyncio.create_task(client.run())
        try:
            assert await client.wait_connected(10)
            replies = await asyncio.gather(*(client.command("PING") for _ in range(QUEUED)))
            assert replies == [b"PONG"] * QUEUED
            assert slow.connections == 1
            slow.is_silent = True
            try:
                await client.command("PING")
                raise AssertionError("nothing came")
            except RedisUnavailable:
                pass
        finally:
            running.cancel()
            server.close()

    asyncio.run(story())
