"""The HTTP side: AWS JSON 1.1 over aiohttp, injected faults and counters."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import orjson
from aiohttp import web
from pydantic import BaseModel, Field

from kinesis_emulator.api import Kinesis, Options
from kinesis_emulator.errors import KinesisError

_JSON = "application/x-amz-json-1.1"


class Fault(BaseModel):
    """A fault to inject: into the next ``calls`` calls of an operation, or into each with a probability."""

    operation: str
    kind: str = Field(pattern="^(throttle|error|hang|close|expire)$")
    calls: int | None = None
    probability: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0
    seconds: float = 30.0


@dataclass
class _Armed:
    fault: Fault
    left: int | None
    randomness: random.Random

    def strikes(self, operation: str) -> bool:
        if self.fault.operation not in (operation, "*") or self.left == 0:
            return False
        if self.randomness.random() >= self.fault.probability:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Server:
    """An aiohttp application around the emulator's state."""

    def __init__(self, options: Options) -> None:
        self._kinesis = Kinesis(options)
        self._options = options
        self._faults: list[_Armed] = []
        self._calls: Counter[str] = Counter()

    def application(self) -> web.Application:
        """The application; the control calls need no AWS signature."""
        application = web.Application(client_max_size=16 * 1024 * 1024)
        application.router.add_post("/", self._call)
        application.router.add_post("/_control/faults", self._set_faults)
        application.router.add_get("/_control/stats", self._stats)
        return application

    async def _call(self, request: web.Request) -> web.StreamResponse:
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self._calls[operation] += 1
        try:
            body = await request.read()
            self._authorise(request, body)
            fault = next((armed.fault for armed in self._faults if armed.strikes(operation)), None)
            if fault is not None:
                await self._fail(fault)
            handler = self._kinesis.operations.get(operation)
            if handler is None:
                raise KinesisError("UnknownOperationException", f"{operation or 'no operation'} is not supported")
            answer = handler(_parsed(body))
            payload = answer if isinstance(answer, bytes) else orjson.dumps(answer)
            if fault is not None and fault.kind == "close":
                return await _cut(request, payload)
            return web.Response(body=payload, content_type=_JSON)
        except KinesisError as error:
            payload = orjson.dumps({"__type": error.code, "message": str(error)})
            return web.Response(status=error.status, body=payload, content_type=_JSON)
        except OSError as error:
            payload = orjson.dumps(
                {"__type": "InternalFailure", "message": f"nothing was stored: {error}; free the disk"}
            )
            return web.Response(status=500, body=payload, content_type=_JSON)
        except (KeyError, TypeError, ValueError) as error:
            payload = orjson.dumps({"__type": "ValidationException", "message": f"malformed request: {error!r}"})
            return web.Response(status=400, body=payload, content_type=_JSON)

    def _authorise(self, request: web.Request, body: bytes) -> None:
        expected = self._options.access_key
        if expected and f"Credential={expected}/" not in request.headers.get("Authorization", ""):
            raise KinesisError("UnrecognizedClientException", "The security token included in the request is invalid.")
        if expected and self._options.secret_key:
            # Imported where it is used: botocore takes longer to import than the emulator to start.
            from kinesis_emulator.auth import check_signature

            check_signature(request.headers, body, expected, self._options.secret_key)

    async def _fail(self, fault: Fault) -> None:
        match fault.kind:
            case "throttle":
                raise KinesisError("ProvisionedThroughputExceededException", "Rate exceeded (injected)")
            case "error":
                raise KinesisError("InternalFailure", "an injected failure", 500)
            case "expire":
                raise KinesisError("ExpiredIteratorException", "Iterator expired (injected)")
            case "hang":
                await asyncio.sleep(fault.seconds)

    async def _set_faults(self, request: web.Request) -> web.Response:
        faults = [Fault.model_validate(item) for item in orjson.loads(await request.read())]
        self._faults = [_Armed(fault, fault.calls, random.Random(fault.seed)) for fault in faults]
        return web.json_response({"faults": len(faults)})

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "calls": dict(self._calls),
                "records_in": self._kinesis.records_in,
                "records_out": self._kinesis.records_out,
            }
        )


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
