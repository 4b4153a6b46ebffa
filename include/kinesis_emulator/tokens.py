"""Opaque texts that clients hand back: shard iterators and tokens of pages."""

import base64
from typing import Any

import orjson

from kinesis_emulator.errors import KinesisError


def encoded(values: list[Any]) -> str:
    """The values as one word."""
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode()


def decoded(token: str, code: str, length: int) -> list[Any]:
    """The ``length`` values of a word; raises KinesisError with ``code`` for any other text."""
    try:
        values = orjson.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise KinesisError(code, "the token is malformed") from error
    if not isinstance(values, list) or len(values) != length:
        raise KinesisError(code, "the token is malformed")
    return values
