"""The endpoint: a request of either version of HTTP becomes a call of the API, and its answer a reply.

Beside the API it answers control calls, which need no AWS signature: injected faults, the clock and counters.
"""

import asyncio
import base64
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import orjson

from kinesis_emulator.api import Kinesis, Options
from kinesis_emulator.errors import KinesisError, own_fault
from kinesis_emulator.faults import Fault, Faults, Request, odd, refusal
from kinesis_emulator.service.clock import MAX_OFFSET_SECONDS, Clock
from kinesis_emulator.wire.encodings import JSON, Encoding, encoding_of
from kinesis_emulator.wire.push import Push

MAX_BODY_BYTES = 16 * 1024 * 1024
_LOG = logging.getLogger(__name__)
_TARGET = "Kinesis_20131202"
_SUBSCRIBE = "SubscribeToShard"
_READING = ("Describe", "Get", "List", _SUBSCRIBE)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. ``version`` is as in ``HTTP/2``; ``headers`` finds names in any case, and has Host."""

    version: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is there as a whole; ``cut``: break off after half of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False


class Endpoint:
    """Answers requests from the emulator's state. Not thread-safe: one event loop calls it.

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
        self._wire: Counter[str] = Counter()
        self._hung: set[asyncio.Task[Reply | Push]] = set()
        # Access key ids that are let in; None: all.
        self._keys: list[str] | None = [options.access_key] if options.access_key else None
        self._control: dict[tuple[str, str], Callable[[bytes], dict[str, Any]]] = {
            ("POST", "/_control/faults"): self._set_faults,
            ("GET", "/_control/stats"): self._stats,
            ("POST", "/_control/clock"): self._set_clock,
            ("POST", "/_control/keys"): self._set_keys,
        }

    async def answer(self, request: HttpRequest) -> Reply | Push:
        """The answer to a request; errors are answers, too, in the request's encoding.

        Whoever finds that a client has gone cancels it: what reads ends then, what changes something is done whole.

        One that the emulator itself is to blame for is an InternalFailure, and its trace is in the log.
        """
        encoding = encoding_of(request.headers.get("Content-Type", ""))
        # Names of the answer, so that clients can log and report it, as those of AWS.
        headers = {
            "x-amzn-RequestId": str(uuid4()),
            "x-amz-id-2": base64.b64encode(os.urandom(48)).decode(),
            "Content-Type": encoding.content_type,
        }
        if self._clock.offset_seconds:  # without one, that of the HTTP version is right
            headers["Date"] = self._clock.http_date()
        try:
            if (request.method, request.path) == ("POST", "/"):
                return await self._call(request, encoding, headers)
            control = self._control.get((request.method, request.path))
            if control is None:
                raise KinesisError("UnknownOperationException", f"there is no {request.method} {request.path}", 404)
            headers["Content-Type"] = "application/json"
            return Reply(200, headers, orjson.dumps(control(request.body)))
        except KinesisError as error:
            refused = error
        except OSError as error:
            refused = KinesisError("InternalFailure", f"nothing was stored: {error}; free the disk", 500)
        except Exception as error:
            # Not the request's fault: each is held against the model of the service before it does anything.
            _LOG.exception("%s %s failed", request.method, request.headers.get("X-Amz-Target") or request.path)
            refused = own_fault("InternalFailure", error)
        # Headers may hold bytes that are not text, and messages repeat them.
        message = str(refused).encode(errors="backslashreplace").decode()
        return Reply(refused.status, headers, encoding.render({"__type": refused.code, "message": message}))

    def end_subscriptions(self) -> None:
        """End all subscriptions."""
        self._kinesis.subscriptions.close()

    def close(self) -> None:
        """End all subscriptions, and let go of the data folder: nothing is answered any more."""
        self._kinesis.close()

    async def _call(self, request: HttpRequest, encoding: Encoding, headers: dict[str, str]) -> Reply | Push:
        target, _, operation = request.headers.get("X-Amz-Target", "").rpartition(".")
        if target != _TARGET or operation not in self._known:
            what = f"{target}.{operation}" if target else "a request without X-Amz-Target"
            raise KinesisError("UnknownOperationException", f"{what} is not supported")
        self._calls[operation] += 1
        self._wire[f"{request.version} {encoding.name}"] += 1
        self._authorise(request)
        parsed = encoding.parse(request.body)
        fault = self._faults.strike(operation, parsed)
        if fault is not None and (error := refusal(fault.kind, operation)):
            raise error
        call = partial(self._done, operation, parsed, fault, encoding, headers)
        if fault is None or fault.kind != "hang":
            return call()
        hung = asyncio.create_task(_after(fault.seconds, call))
        if operation.startswith(_READING):
            return await hung
        # Whatever changes something is done whole, as the service does it, also where this call is cancelled because
        # its client has gone.
        self._hung.add(hung)
        hung.add_done_callback(self._hung.discard)
        return await asyncio.shield(hung)

    def _done(
        self, operation: str, parsed: Request, fault: Fault | None, encoding: Encoding, headers: dict[str, str]
    ) -> Reply | Push:
        """The call takes effect."""
        cut = fault is not None and fault.kind == "close"
        if operation == _SUBSCRIBE:
            subscriptions = self._kinesis.subscriptions
            subscription = subscriptions.subscribe(parsed)
            seconds = self._options.subscription_seconds
            return Push(subscription, encoding, seconds, cut, headers, subscriptions.finish)
        answer = self._kinesis.operations[operation](parsed)
        if fault is not None:
            answer = odd(fault, parsed, answer, self._kinesis.operations["GetShardIterator"])
        # What has nothing to tell has no body, as in the service.
        return Reply(200, headers, encoding.render(answer) if answer else b"", cut)

    def _authorise(self, request: HttpRequest) -> None:
        expected, signed = self._options.access_key, request.headers.get("Authorization", "")
        if self._keys is not None and not any(f"Credential={key}/" in signed for key in self._keys):
            raise KinesisError("UnrecognizedClientException", "The security token included in the request is invalid.")
        if expected and self._options.secret_key:
            # Imported where it is used: botocore takes longer to import than the emulator to start.
            from kinesis_emulator.wire.auth import check_signature

            check_signature(request.headers, request.body, expected, self._options.secret_key)

    def _set_faults(self, body: bytes) -> dict[str, Any]:
        return {"faults": self._faults.set(body)}

    def _set_clock(self, body: bytes) -> dict[str, Any]:
        offset = JSON.parse(body).get("offset_seconds")
        if isinstance(offset, bool) or not isinstance(offset, int | float) or abs(offset) > MAX_OFFSET_SECONDS:
            why = f"a number, at most {MAX_OFFSET_SECONDS} either way, but is {offset!r}"
            raise KinesisError("ValidationException", f"offset_seconds must be {why}")
        self._kinesis.state.settle()
        self._clock.offset_seconds = offset
        return {"now": self._clock()}

    def _set_keys(self, body: bytes) -> dict[str, Any]:
        keys = JSON.parse(body).get("access_keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise KinesisError("ValidationException", f"access_keys must be a list of strings, but is {keys!r}")
        self._keys = keys
        return {"access_keys": keys}

    def _stats(self, _: bytes) -> dict[str, Any]:
        state = self._kinesis.state
        return {
            "calls": dict(self._calls),
            "wire": dict(self._wire),
            "records_in": state.records_in,
            "records_out": state.records_out,
            "subscriptions": self._kinesis.subscriptions.active,
        }


async def _after(seconds: float, call: Callable[[], Reply | Push]) -> Reply | Push:
    await asyncio.sleep(seconds)
    return call()
