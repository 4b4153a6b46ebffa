"""Listens on a socket, and finds out which version of HTTP each connection speaks."""

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from kinesis_emulator.wire.endpoint import Endpoint
from kinesis_emulator.wire.http1 import Http1

if TYPE_CHECKING:
    from kinesis_emulator.wire.http2 import Http2

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_CLOSE_SECONDS = 1


async def serve(
    endpoint: Endpoint, listener: socket.socket, tls: ssl.SSLContext | None, ready: Callable[[], None]
) -> None:
    """Answer what comes over a socket until SIGINT or SIGTERM; ``ready`` is called once it listens.

    A connection speaks HTTP/2 if ALPN says so, or if it begins with HTTP/2's preface (prior knowledge, with TLS or
    without: the SDK for Java v2 does not negotiate unless told to).
    """
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_end.set)
    versions = Versions(endpoint)
    server = await loop.create_server(lambda: UndecidedConnection(versions), sock=listener, ssl=tls)
    try:
        ready()
        await told_to_end.wait()
    finally:
        server.close()
        endpoint.end_subscriptions()
        await versions.close()
        # Last, as requests that are under way may write.
        endpoint.close()


class Versions:
    """The servers of both versions of HTTP, and the connections that have not said theirs."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.undecided: set[asyncio.Transport] = set()
        self.http1 = Http1(endpoint)
        self._endpoint = endpoint
        self._http2: Http2 | None = None

    @property
    def http2(self) -> "Http2":
        if self._http2 is None:
            # Imported where it is used: most emulators never meet it, and start in less time.
            from kinesis_emulator.wire.http2 import Http2

            self._http2 = Http2(self._endpoint)
        return self._http2

    async def close(self) -> None:
        for transport in self.undecided:
            transport.close()
        await self.http1.close(_CLOSE_SECONDS)
        if self._http2 is not None:
            await self._http2.close(_CLOSE_SECONDS)


class UndecidedConnection(asyncio.Protocol):
    """A connection until its first bytes are there; then another protocol has it, and these bytes."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # asyncio does so only where the listening socket names its protocol. Without it, an answer whose parts are
        # written one by one waits for the client's delayed acknowledgement, some 40 ms.
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._versions.undecided.add(self._transport)
        tls = self._transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            self._hand_over(self._versions.http2.protocol())

    def data_received(self, data: bytes) -> None:
        self._begun += data
        if self._begun.startswith(_PREFACE):
            self._hand_over(self._versions.http2.protocol())
        elif not _PREFACE.startswith(self._begun):
            self._hand_over(self._versions.http1.protocol())

    def connection_lost(self, exc: Exception | None) -> None:
        self._versions.undecided.discard(self._transport)

    def _hand_over(self, protocol: asyncio.Protocol) -> None:
        self._versions.undecided.discard(self._transport)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._begun:
            protocol.data_received(self._begun)
