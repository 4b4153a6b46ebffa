"""The two encodings of requests and answers: AWS JSON 1.1, and the CBOR that AWS' SDKs for Java speak by default.

The API knows the JSON form only: bytes as base64 text, times in seconds since the epoch. CBOR has bytes as bytes, and
times as tag 1 over whole milliseconds since the epoch, where RFC 8949 has seconds (SdkCborGenerator in the SDK for
Java v1, SdkCborGenerator and its timestamp format UNIX_TIMESTAMP_MILLIS in v2).
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from math import isfinite
from typing import Any, NoReturn, Protocol

import cbor2
import orjson

from kinesis_emulator.errors import KinesisError

Answer = dict[str, Any] | bytes
"""An answer of the API in its JSON form, parsed or as text."""

_EPOCH_TAG = 1
_BIG_NUMBER_TAGS = (2, 3)
_JSON_TYPES = frozenset({str, bytes, int, float, bool, type(None), dict, list})
_BLOB = "Data"
_TIMES = frozenset({"StartedAt", "EndedAt", "EarliestAllowedEndAt"})


class Encoding(Protocol):
    """How a request was encoded, and its answer is."""

    name: str
    content_type: str
    event_content_type: str

    def parse(self, body: bytes) -> dict[str, Any]:
        """A request in its JSON form; raises SerializationException."""
        ...

    def render(self, answer: Answer) -> bytes:
        """An answer as it travels."""
        ...


class _Json:
    name = "JSON"
    content_type = "application/x-amz-json-1.1"
    event_content_type = "application/json"

    def parse(self, body: bytes) -> dict[str, Any]:
        try:
            return _object(orjson.loads(body or b"{}"), self.name)
        except orjson.JSONDecodeError as error:
            raise KinesisError("SerializationException", "the request is not JSON") from error

    def render(self, answer: Answer) -> bytes:
        return answer if isinstance(answer, bytes) else orjson.dumps(answer)


class _Cbor:
    name = "CBOR"
    content_type = "application/x-amz-cbor-1.1"
    event_content_type = content_type

    def parse(self, body: bytes) -> dict[str, Any]:
        try:
            parsed = cbor2.loads(body or b"\xa0", object_hook=_in_json_form, semantic_decoders=_TAGS, max_depth=20)
        except (cbor2.CBORDecodeError, TypeError, ValueError) as error:
            raise KinesisError("SerializationException", f"the request is not CBOR: {error}") from error
        return _object(parsed, self.name)

    def render(self, answer: Answer) -> bytes:
        return cbor2.dumps(_binary(orjson.loads(answer) if isinstance(answer, bytes) else answer))


JSON: Encoding = _Json()
CBOR: Encoding = _Cbor()


def encoding_of(content_type: str) -> Encoding:
    """The encoding of a request with this Content-Type; JSON unless it says CBOR."""
    return CBOR if content_type.partition(";")[0].strip() == CBOR.content_type else JSON


def _object(parsed: object, what: str) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        raise KinesisError("SerializationException", f"the request is not a {what} object")
    return parsed


def _in_json_form(parsed: Mapping[Any, Any], _: bool) -> dict[str, Any]:
    made = {}
    for key, value in parsed.items():
        kind = type(value)
        if kind not in _JSON_TYPES or type(key) is not str:
            raise ValueError(f"{key!r} is {value!r}, which no request has")
        made[key] = b64encode(value).decode() if kind is bytes else value
    return made


def _seconds(milliseconds: Any, _: bool) -> float:
    if type(milliseconds) not in (int, float) or not isfinite(milliseconds):
        raise ValueError(f"a time is {milliseconds!r}, where milliseconds since the epoch are expected")
    return float(milliseconds / 1000)


def _big_number(_: Any, __: bool) -> NoReturn:
    raise ValueError("a number has more than 64 bits")


_TAGS = {_EPOCH_TAG: _seconds, **dict.fromkeys(_BIG_NUMBER_TAGS, _big_number)}


def _binary(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer with bytes and times as CBOR has them: which values they are is told by their names."""
    return {name: _binary_value(name, value) for name, value in answer.items()}


def _binary_value(name: str, value: Any) -> Any:
    kind = type(value)
    if kind is str:
        return b64decode(value) if name == _BLOB else value
    if kind is list:
        return [_binary(one) if type(one) is dict else one for one in value]
    if kind is dict:
        return _binary(value)
    if kind in (int, float) and (name.endswith("Timestamp") or name in _TIMES):
        return cbor2.CBORTag(_EPOCH_TAG, round(value * 1000))
    return value
