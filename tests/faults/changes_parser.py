"""What a record says, by parsers that the product does not use: orjson tells what is JSON, and ijson (yajl) the tokens.

Values of columns follow the documented forms (docs/adr/0012, ``tidemark_spark.transforms.values``), in plain Python.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from itertools import pairwise
from typing import Any, NamedTuple

import ijson
import orjson
from plain_times import time_by_python

MAX_DEPTH = 500
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_EXPONENT = re.compile(r'("(?:[^"\\]|\\.)*")|(?<=[0-9])[eE][+-]?[0-9]+', re.DOTALL)
_DATE = re.compile(r" {0,9}(\d{4})-(\d\d?)-(\d\d?)(?P<clock>.*)", re.ASCII | re.DOTALL)


class Nested(NamedTuple):
    """An array or an object as a value: no type but STRING takes one."""


class Said(NamedTuple):
    """An event's place in its record, and its members; without members it is not an event."""

    ordinal: int | None
    members: dict[str, Any] | None


def said_by(data: bytes, holds: str) -> list[Said]:
    """The events of a record, and what stands in their place."""
    if holds == "object":
        return [Said(None, members_of(data))]
    try:
        text = _text(data)
        if holds == "lines":
            parts = [line.encode() for line in text.split("\n") if line.strip(" \t\r")]
        else:
            whole = _loads(text) if _depth_of(text) <= MAX_DEPTH else None
            if not isinstance(whole, list):
                return [Said(None, None)]
            parts = [part.encode() for part in _elements(text)]
    except ValueError:
        return [Said(None, None)]
    return [Said(n, members_of(part)) for n, part in enumerate(parts)] or [Said(None, None)]


def members_of(data: bytes) -> dict[str, Any] | None:
    """The members of the one object that a text is; None where it is not one, or one of the names stands twice."""
    try:
        text = _text(data)
        if _depth_of(text) > MAX_DEPTH or not isinstance(_loads(text), dict):
            return None
        return _members(text.encode())
    except ValueError:
        return None


def _members(data: bytes) -> dict[str, Any] | None:
    members: dict[str, Any] = {}
    name, depth = "", 0
    for _, event, value in ijson.parse(data, buf_size=1 << 20):
        opens, closes = event.startswith("start_"), event.startswith("end_")
        if depth == 1 and event == "map_key":
            if value in members:
                return None
            name = value
            members[name] = None
        elif depth == 1 and not closes:
            members[name] = Nested() if opens else value
        depth += opens - closes
    return members


def _loads(text: str) -> Any:
    """The document, if it is JSON. orjson refuses a number beyond a double, which is JSON: exponents are left out."""
    return orjson.loads(_EXPONENT.sub(lambda found: found[1] or "e0", text))


def _text(data: bytes) -> str:
    return data.decode().removeprefix("\ufeff")


def _outside_strings(text: str) -> Iterator[tuple[int, str, int]]:
    """The characters outside of strings: place, character, and how deep brackets are nested behind it."""
    depth = 0
    inside = escaped = False
    for at, character in enumerate(text):
        if inside:
            escaped, inside = character == "\\" and not escaped, character != '"' or escaped
            continue
        inside = character == '"'
        depth += (character in "[{") - (character in "]}")
        yield at, character, depth


def _depth_of(text: str) -> int:
    """How deep brackets are nested."""
    return max((depth for _, _, depth in _outside_strings(text)), default=0)


def _elements(text: str) -> list[str]:
    """The texts of the elements of an array that is valid JSON."""
    inner = text.strip(" \t\r\n")[1:-1]
    commas = [at for at, character, depth in _outside_strings(inner) if character == "," and depth == 0]
    parts = [inner[begin:end] for begin, end in pairwise([0, *(at + 1 for at in commas), len(inner) + 1])]
    return [part.rstrip(",").strip(" \t\r\n") for part in parts] if inner.strip(" \t\r\n") else []


class Wrong(Exception):
    """A value was sent, and it is none of its column's type."""


def integer(token: Any) -> int | None:
    """A BIGINT."""
    if token is None:
        return None
    if isinstance(token, bool) or not isinstance(token, int | str):
        raise Wrong
    text = str(token).strip()
    if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise Wrong
    return int(text)


def decimal(token: Any, precision: int, scale: int) -> Decimal | None:
    """A DECIMAL, rounded half up."""
    if token is None:
        return None
    if isinstance(token, bool) or not isinstance(token, int | Decimal | str):
        raise Wrong
    text = str(token).strip()
    if not _NUMBER.fullmatch(text):
        raise Wrong
    _, digits, exponent = Decimal(text).as_tuple()
    if len(digits) > 900 or abs(int(exponent)) > 900:
        raise Wrong
    with localcontext(prec=3000):
        value = Decimal(text).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP)
        if abs(value) >= Decimal(10) ** (precision - scale):
            raise Wrong
        return value + 0  # no negative zero


def timestamp(token: Any) -> datetime | None:
    """A TIMESTAMP, in UTC."""
    if token is None:
        return None
    found = time_by_python(token) if isinstance(token, str) else None
    if found is None:
        raise Wrong
    return found


def day(token: Any) -> date | None:
    """A DATE, which may be followed by a time."""
    if token is None:
        return None
    match = _DATE.fullmatch(token) if isinstance(token, str) else None
    if match is None or not 1 <= int(match[1]) <= 9999:
        raise Wrong
    if match["clock"].strip(" ") and not re.fullmatch(_CLOCK, match["clock"]):
        raise Wrong
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        raise Wrong from None


_CLOCK = r"[T ]\d\d?:\d\d?(:\d\d?(\.\d{1,30})?)?( ?(Z|UTC|GMT|[+-]\d\d?(:?\d\d(:\d\d)?)?))? {0,9}"


def string(token: Any) -> Any:
    """A STRING: characters as they are, and what else was sent as it was written."""
    return {True: "true", False: "false"}.get(token, token) if isinstance(token, bool) else token
