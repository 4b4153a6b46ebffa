"""The HTTP side: AWS JSON 1.1 over aiohttp, event streams, injected faults and counters."""

import asyncio
from collections import Counter
from contextlib import aclosing

import orjson
from aiohttp import web

from kinesis_emulator.api import Kinesis, Options
from kinesis_emulator.clock import MAX_OFFSET_SECONDS, Clock
from kinesis_emulator.errors import KinesisError
from kinesis_emulator.eventstream import CONTENT_TYPE
from kinesis_emulator.faults import Fault, Faults, refusal
from kinesis_emulator.subscriptions import INITIAL_RESPONSE, Subscription

_JSON = "application/x-amz-json-1.1"
_TARGET = "Kinesis_20131202"
_SUBSCRIBE = "SubscribeToShard"


class Server:
    """An aiohttp application around the emulator's state.

    Raises:
        DataFolderError: the data folder cannot be used.
    """

    def __init__(self, options: Options) -> None:
        self._clock = Clock(options.clock_offset_seconds)
        self._kinesis = Kinesis(options, self._clock)
        self._options = options
        self._known = {*self._kinesis.operations, _SUBSCRIBE}
        self._faults = Faults(self._known)
        self._calls: Counter[str] = Counter()

    def application(self) -> web.Application:
        """The application; the control calls need no AWS signature."""
        application = web.Application(client_max_size=16 * 1024 * 1024)
        application.router.add_post("/", self._call)
        application.router.add_post("/_control/faults", self._set_faults)
        application.router.add_get("/_control/stats", self._stats)
        application.router.add_post("/_control/clock", self._set_clock)
        application.on_response_prepare.append(self._date)
        application.on_shutdown.append(self._close)
        return application

    async def _call(self, request: web.Request) -> web.StreamResponse:
        target, _, operation = request.headers.get("X-Amz-Target", "").rpartition(".")
        try:
            body = await request.read()
            if target != _TARGET or operation not in self._known:
                what = f"{target}.{operation}" if target else "a request without X-Amz-Target"
                raise KinesisError("UnknownOperationException", f"{what} is not supported")
            self._calls[operation] += 1
            self._authorise(request, body)
            parsed = _parsed(body)
            fault = self._faults.strike(operation, parsed)
            if fault is not None:
                await self._fail(fault, operation)
            cut = fault is not None and fault.kind == "close"
            if operation == _SUBSCRIBE:
                return await self._push(request, self._kinesis.subscriptions.subscribe(parsed), cut)
            answer = self._kinesis.operations[operation](parsed)
            payload = answer if isinstance(answer, bytes) else orjson.dumps(answer)
            return await _cut(request, payload) if cut else web.Response(body=payload, content_type=_JSON)
        except KinesisError as error:
            return _refused(error)
        except OSError as error:
            return _refused(KinesisError("InternalFailure", f"nothing was stored: {error}; free the disk", 500))
        except (KeyError, TypeError, ValueError) as error:
            return _refused(KinesisError("ValidationException", f"malformed request: {error!r}"))

    async def _push(self, request: web.Request, subscription: Subscription, cut: bool) -> web.StreamResponse:
        """Stream a subscription until it ends, its time is up or its reader is gone; ``cut``: break off in an event."""
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        response.enable_chunked_encoding()
        by_reader = True
        try:
            await response.prepare(request)
            try:
                # Around the writes, too: a reader that takes nothing must not outlive its subscription.
                async with (
                    asyncio.timeout(self._options.subscription_seconds),
                    aclosing(subscription.messages()) as messages,
                ):
                    async for message in messages:
                        if cut and message != INITIAL_RESPONSE:
                            await response.write(message[: len(message) // 2])
                            break
                        await response.write(message)
            except TimeoutError:
                pass
            by_reader = False
            if not cut:
                async with asyncio.timeout(1):
                    await response.write_eof()
                return response
        except (ConnectionError, TimeoutError):
            pass
        finally:
            self._kinesis.subscriptions.finish(subscription, by_reader)
        if request.transport is not None:
            request.transport.close()
        return response

    def _authorise(self, request: web.Request, body: bytes) -> None:
        expected = self._options.access_key
        if expected and f"Credential={expected}/" not in request.headers.get("Authorization", ""):
            raise KinesisError("UnrecognizedClientException", "The security token included in the request is invalid.")
        if expected and self._options.secret_key:
            # Imported where it is used: botocore takes longer to import than the emulator to start.
            from kinesis_emulator.auth import check_signature

            check_signature(request.headers, body, expected, self._options.secret_key)

    async def _fail(self, fault: Fault, operation: str) -> None:
        if error := refusal(fault.kind, operation):
            raise error
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            return web.json_response({"faults": self._faults.set(await request.read())})
        except KinesisError as error:
            return _refused(error)

    async def _set_clock(self, request: web.Request) -> web.Response:
        try:
            offset = _parsed(await request.read()).get("offset_seconds")
            if isinstance(offset, bool) or not isinstance(offset, int | float) or abs(offset) > MAX_OFFSET_SECONDS:
                why = f"a number, at most {MAX_OFFSET_SECONDS} either way, but is {offset!r}"
                raise KinesisError("ValidationException", f"offset_seconds must be {why}")
        except KinesisError as error:
            return _refused(error)
        self._kinesis.state.settle()
        self._clock.offset_seconds = offset
        return web.json_response({"now": self._clock()})

    async def _date(self, _: web.Request, response: web.StreamResponse) -> None:
        if self._clock.offset_seconds:  # without one, aiohttp's own is right
            response.headers["Date"] = self._clock.http_date()

    async def _stats(self, _: web.Request) -> web.Response:
        state = self._kinesis.state
        counts = {"records_in": state.records_in, "records_out": state.records_out}
        return web.json_response(
            {"calls": dict(self._calls), **counts, "subscriptions": self._kinesis.subscriptions.active}
        )

    async def _close(self, _: web.Application) -> None:
        self._kinesis.close()


def _refused(error: KinesisError) -> web.Response:
    payload = orjson.dumps({"__type": error.code, "message": str(error)})
    return web.Response(status=error.status, body=payload, content_type=_JSON)


def _parsed(body: bytes) -> dict[str, object]:
    try:
        parsed = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise KinesisError("SerializationException", "the request is not JSON") from error
    if not isinstance(parsed, dict):
        raise KinesisError("SerializationException", "the request is not a JSON object")
    return parsed


async def _cut(request: web.Request, payload: bytes) -> web.StreamResponse:
    """Send half of an answer, then close the connection."""
    response = web.StreamResponse(headers={"Content-Length": str(len(payload)), "Content-Type": _JSON})
    await response.prepare(request)
    await response.write(payload[: len(payload) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
