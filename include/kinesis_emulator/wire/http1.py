"""HTTP/1.1, by aiohttp."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import HttpVersion11, web

from kinesis_emulator.wire.endpoint import MAX_BODY_BYTES, Endpoint, HttpRequest, Reply
from kinesis_emulator.wire.push import Push


class Http1:
    """Serves an endpoint on the connections that it is given. One event loop uses it.

    A request whose connection is lost is cancelled.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._server = web.Server(self._handle, request_factory=_request, access_log=None, handler_cancellation=True)

    def protocol(self) -> asyncio.Protocol:
        """What speaks on one connection."""
        return self._server()

    async def close(self, seconds: float) -> None:
        """Close all connections, those with a request after so many seconds."""
        self._server.pre_shutdown()
        await self._server.shutdown(seconds)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "").lower() == "100-continue" and request.version == HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # As aiohttp does for its applications: the answer's own size begins here.
            request.writer.output_size = 0
        body = await request.read()
        parts = HttpRequest("HTTP/1.1", request.method, request.path, request.headers, body)
        answer = await self._endpoint.answer(parts)
        if isinstance(answer, Push):
            stream = _Stream(request)
            await answer.run(stream)
            return stream.response
        if answer.cut:
            return await _cut(request, answer)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)


class _Stream:
    def __init__(self, request: web.BaseRequest) -> None:
        self.response = web.StreamResponse()
        self._request = request

    async def begin(self, headers: Mapping[str, str]) -> None:
        self.response.headers.update(headers)
        self.response.enable_chunked_encoding()
        await self.response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        await self.response.write(data)

    async def end(self) -> None:
        await self.response.write_eof()

    def abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.close()


async def _cut(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    """Send half of an answer, then close the connection."""
    response = web.StreamResponse(headers={**reply.headers, "Content-Length": str(len(reply.body))})
    await response.prepare(request)
    await response.write(reply.body[: len(reply.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
