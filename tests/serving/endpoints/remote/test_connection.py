from __future__ import annotations

import asyncio
import contextlib

from rung.serving.endpoints.remote.connection import IDLE, Connections


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while await reader.readuntil(b"{}"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    writer.close()


async def test_what_a_burst_has_left_is_closed_by_the_next_request() -> None:
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connections, url = Connections(), f"http://127.0.0.1:{port}/v1"
        burst = [await connections.post(url, "", b"{}") for _ in range(3)]
        for one in burst:
            while await one.part():
                pass
            one.release()
        (target,) = {id(one.target): one.target for one in burst}.values()
        assert target.idle == burst
        for one in burst[:2]:
            one.idle_since -= 2 * IDLE
        again = await connections.post(url, "", b"{}")
        assert again is burst[2]
        while await again.part():
            pass
        again.release()
        assert target.idle == [again]
        while not all(one.lost for one in burst[:2]):
            await asyncio.sleep(0)
        await connections.close()
