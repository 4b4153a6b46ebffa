"""What is done to a connection before it is known which version of HTTP it speaks."""

import asyncio
import socket

import pytest

from kinesis_emulator.api import Options
from kinesis_emulator.wire.endpoint import Endpoint
from kinesis_emulator.wire.listener import UndecidedConnection, Versions


@pytest.mark.parametrize("protocol", [0, socket.IPPROTO_TCP])
def test_no_connection_waits_until_its_segments_are_full(protocol: int) -> None:
    async def delay_of_an_accepted_connection() -> int:
        accepted: asyncio.Future[asyncio.BaseTransport] = asyncio.get_running_loop().create_future()

        class Seen(UndecidedConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                accepted.set_result(transport)

        versions = Versions(Endpoint(Options()))
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as listener:
            listener.bind(("127.0.0.1", 0))
            server = await asyncio.get_running_loop().create_server(lambda: Seen(versions), sock=listener)
            _, writer = await asyncio.open_connection(*listener.getsockname())
            connection = (await accepted).get_extra_info("socket")
            option: int = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            writer.close()
            await versions.close()
            server.close()
            return option

    assert asyncio.run(delay_of_an_accepted_connection()) != 0
