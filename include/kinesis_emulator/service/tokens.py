"""Opaque texts that clients hand back: shard iterators and tokens of pages."""

import base64
from typing import Any

import orjson

from kinesis_emulator.errors import KinesisError


def encoded(values: list[Any]) -> str:
    """The values as one word."""
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode()


def decoded(token: str, error: KinesisError, *types: type) -> list[Any]:
    """The values of a word, of these types; raises the error for any other text."""
    try:
        values = orjson.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        raise error from None
    if not isinstance(values, list) or [type(value) for value in values] != list(types):
        raise error
    return values


def decoded_page(token: str, *types: type) -> list[Any]:
    """The values of the token of a page; raises ExpiredNextTokenException for any other text."""
    return decoded(token, KinesisError("ExpiredNextTokenException", f"NextToken {token} is invalid."), *types)
