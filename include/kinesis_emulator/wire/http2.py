"""HTTP/2 (RFC 9113), by h2: a connection's streams, each with its own flow control."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from multidict import CIMultiDict

from kinesis_emulator.wire.endpoint import MAX_BODY_BYTES, Endpoint, HttpRequest
from kinesis_emulator.wire.push import Push

_MAX_STREAMS = 1000
# Bodies are taken as they come, so a client seldom has to wait for a larger window.
_STREAM_WINDOW = 1024 * 1024
_CONNECTION_WINDOW = 16 * 1024 * 1024


class Http2:
    """Serves an endpoint on the connections that it is given. One event loop uses it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connections: set[_Connection] = set()

    def protocol(self) -> asyncio.Protocol:
        """What speaks on one connection, whose client begins with HTTP/2's preface."""
        return _Connection(self._endpoint, self._connections)

    async def close(self, seconds: float) -> None:
        """Close all connections, those with a request after so many seconds."""
        await asyncio.gather(*(connection.close(seconds) for connection in tuple(self._connections)))


class _Connection(asyncio.Protocol):
    """Answers are sent as fast as the windows of stream and connection, and the socket, let them.

    A request that its client resets, or whose connection is lost, is cancelled.
    """

    def __init__(self, endpoint: Endpoint, connections: "set[_Connection]") -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        limits = {SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_STREAMS, SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW}
        self.h2.local_settings = Settings(client=False, initial_values=limits)
        self._endpoint = endpoint
        self._connections = connections
        self._streams: dict[int, _Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(_CONNECTION_WINDOW)
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except ProtocolError:
            # h2 has put the reason into its last frame.
            self._end()
            return
        for event in events:
            self._on(event)
        # The client may have widened a stream's window, or that of all.
        for stream in self._streams.values():
            stream.look_again.set()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        self._writable.set()
        for task in self._tasks:
            _cancel_begun(task)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def close(self, seconds: float) -> None:
        """Close it, with requests that are still being answered after so many seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        self.h2.close_connection()
        self._end()

    async def writable(self) -> None:
        """Wait until the socket takes more; raises ConnectionResetError where it never will."""
        await self._writable.wait()
        if self._transport is None:
            raise ConnectionResetError("the connection is lost")

    def flush(self) -> None:
        """Hand what h2 has to say to the socket."""
        data = self.h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _end(self) -> None:
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def _on(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            # Text and not bytes: the connection has a header_encoding.
            headers = CIMultiDict(cast(list[tuple[str, str]], event.headers))
            self._streams[event.stream_id] = _Stream(self, event.stream_id, headers)
            if headers.get("Expect", "").lower() == "100-continue":
                with suppress(ProtocolError):  # reset, later in the same bytes
                    self.h2.send_headers(event.stream_id, [(":status", "100")])
        elif isinstance(event, DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            stream = self._streams.get(event.stream_id)
            if stream is not None and not stream.take(event.data):
                stream.refuse(413)
                del self._streams[event.stream_id]
        elif isinstance(event, StreamEnded):
            if stream := self._streams.get(event.stream_id):
                stream.task = asyncio.create_task(self._respond(stream))
                self._tasks.add(stream.task)
                stream.task.add_done_callback(self._tasks.discard)
        elif isinstance(event, StreamReset):
            stream = self._streams.pop(event.stream_id, None)
            if stream is not None and stream.task is not None:
                _cancel_begun(stream.task)
        elif isinstance(event, ConnectionTerminated):
            self._end()

    async def _respond(self, stream: "_Stream") -> None:
        try:
            answer = await self._endpoint.answer(stream.request())
            if isinstance(answer, Push):
                await answer.run(stream)
                return
            sent = answer.body[: len(answer.body) // 2] if answer.cut else answer.body
            await stream.begin({**answer.headers, "Content-Length": str(len(answer.body))}, answer.status)
            await stream.write(sent)
            if answer.cut:
                stream.abort()
            else:
                await stream.end()
        except ConnectionError:
            pass
        except Exception:
            stream.abort()
            raise
        finally:
            self._streams.pop(stream.number, None)


def _cancel_begun(task: asyncio.Task[None]) -> None:
    """Cancel a request that is whole, but not before the endpoint has seen it: it may be one that writes."""
    asyncio.get_running_loop().call_soon(task.cancel)


class _Stream:
    """One request and its answer."""

    def __init__(self, connection: _Connection, number: int, headers: "CIMultiDict[str]") -> None:
        self.number = number
        self.look_again = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        self._headers = headers
        self._body = bytearray()

    def take(self, data: bytes) -> bool:
        """Keep a part of the body; False where it is more than a request may have."""
        self._body += data
        return len(self._body) <= MAX_BODY_BYTES

    def request(self) -> HttpRequest:
        """The request, once all of it is there."""
        headers = self._headers
        if ":authority" in headers:
            headers["Host"] = headers[":authority"]
        path = headers.get(":path", "").partition("?")[0]
        return HttpRequest("HTTP/2", headers.get(":method", ""), path, headers, bytes(self._body))

    def refuse(self, status: int) -> None:
        """Answer at once, and take no more of the request."""
        with suppress(ProtocolError):  # reset, later in the same bytes
            self._connection.h2.send_headers(self.number, [(":status", str(status))], end_stream=True)
        self._reset(ErrorCodes.NO_ERROR)

    async def begin(self, headers: Mapping[str, str], status: int = 200) -> None:
        dated = {"Date": formatdate(usegmt=True), **headers}
        with _Lost():
            self._connection.h2.send_headers(self.number, [(":status", str(status)), *dated.items()])
        self._connection.flush()

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            await self._connection.writable()
            self.look_again.clear()
            with _Lost():
                window = self._connection.h2.local_flow_control_window(self.number)
                size = min(window, self._connection.h2.max_outbound_frame_size, len(rest))
                if size > 0:
                    self._connection.h2.send_data(self.number, bytes(rest[:size]))
            if size > 0:
                rest = rest[size:]
                self._connection.flush()
            else:
                await self.look_again.wait()

    async def end(self) -> None:
        with _Lost():
            self._connection.h2.end_stream(self.number)
        self._connection.flush()

    def abort(self) -> None:
        self._reset(ErrorCodes.INTERNAL_ERROR)
        self._connection.flush()

    def _reset(self, code: ErrorCodes) -> None:
        # Where the stream, or all of the connection, is closed, there is nothing to reset.
        with suppress(ProtocolError):
            self._connection.h2.reset_stream(self.number, code)


class _Lost:
    """What h2 says of a stream that is closed, as a lost connection is told."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, ProtocolError):
            raise ConnectionResetError("the client closed the stream") from error
