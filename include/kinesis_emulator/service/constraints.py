"""What a value of a shape may be, each constraint in the service's wording.

The wording of constraints and of wrong types is that of the service as kinesalite recorded it, with one change of
later years: values that may be sensitive (blobs, and lists of them) are not repeated.
"""

import math
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kinesis_emulator.errors import KinesisError

Shapes: TypeAlias = Mapping[str, Mapping[str, Any]]
Violation: TypeAlias = tuple[str, str, str]
"""Where (a path, empty for the value itself), the value as it is shown, and the constraint."""
Check: TypeAlias = Callable[[Any], list[Violation]]
"""The violations of a value; raises SerializationException for a value of another type."""

_NONE: list[Violation] = []
_SHOWN_OF_BLOB = 64
_AT_MOST = "less than or equal to"
# How a padded text may end: the bits of its last character that stand for nothing are zero.
_ENDINGS = {f"{last}=" for last in "AEIMQUYcgkosw048"}, {f"{last}==" for last in "AQgw"}


def check_of(name: str, shapes: Shapes) -> Check:
    """The check of a shape."""
    shape = shapes[name]
    match shape["type"]:
        case "structure":
            return _structure(shape, shapes)
        case "list":
            return _list(shape, shapes)
        case "map":
            return _map(shape, shapes)
        case "string":
            return _string(shape)
        case "blob":
            return _blob(shape)
        case "integer" | "long" as kind:
            return _integer(shape, kind.capitalize())
        case "timestamp":
            return _timestamp
        case "boolean":
            return _boolean
        case kind:
            raise ValueError(f"the model has a type {kind!r}, which is not known here: add a check for it")


def _structure(shape: Mapping[str, Any], shapes: Shapes) -> Check:
    required = set(shape.get("required", ()))
    members = [
        (member, member[0].lower() + member[1:], member in required, check_of(of, shapes))
        for member, of in shape["members"].items()
    ]

    def check(value: Any) -> list[Violation]:
        if type(value) is not dict:
            raise _wrong_type(value, "Expected null")
        found = _NONE
        for member, key, needed, inner in members:
            item = value.get(member)
            if item is None:
                if needed:
                    found = [*found, (key, "null", "Member must not be null")]
            elif inside := inner(item):
                found = [*found, *((f"{key}.{at}" if at else key, shown, what) for at, shown, what in inside)]
        return found

    return check


def _list(shape: Mapping[str, Any], shapes: Shapes) -> Check:
    inner, member = check_of(shape["member"], shapes), shapes[shape["member"]]
    nested = member["type"] == "structure"
    low, high = _bounds(shape)

    def check(value: Any) -> list[Violation]:
        if type(value) is not list:
            raise _wrong_type(value, "Expected list or null")
        shown = "" if nested else f"'[{', '.join(map(str, value))}]'"
        found = [] if low <= len(value) <= high else [("", shown, _length(len(value), low, high))]
        for number, item in enumerate(value, 1):
            if item is None:
                found.append((f"{number}.member", "null", "Member must not be null"))
            elif inside := inner(item):
                if nested:
                    found += [(f"{number}.member.{at}", what, why) for at, what, why in inside]
                else:
                    found.append(("", shown, f"Member must satisfy constraint: {_all_of(member)}"))
        return found

    return check


def _map(shape: Mapping[str, Any], shapes: Shapes) -> Check:
    of_key, of_value = check_of(shape["key"], shapes), check_of(shape["value"], shapes)
    keys, values = (f"must satisfy constraint: {_all_of(shapes[shape[part]])}" for part in ("key", "value"))
    low, high = _bounds(shape)

    def check(value: Any) -> list[Violation]:
        if type(value) is not dict:
            raise _wrong_type(value, "Expected map or null")
        shown = f"'{{{', '.join(f'{key}={item}' for key, item in value.items())}}}'"
        found = [] if low <= len(value) <= high else [("", shown, _length(len(value), low, high))]
        for key, item in value.items():
            if of_key(key):
                found.append(("", shown, f"Map keys {keys}"))
            if item is None:
                found.append((key, "null", "Member must not be null"))
            elif of_value(item):
                found.append(("", shown, f"Map value {values}"))
        return found

    return check


def _string(shape: Mapping[str, Any]) -> Check:
    pattern, chosen = shape.get("pattern"), shape.get("enum")
    low, high = _bounds(shape)
    # As in Java, which matches the whole value, and whose \d is a digit of ASCII.
    matches = re.compile(pattern, re.ASCII).fullmatch if pattern else None

    def check(value: Any) -> list[Violation]:
        if type(value) is not str:
            raise _wrong_type(value, None, "an String")
        what = [] if low <= len(value) <= high else [_length(len(value), low, high)]
        if matches and not matches(value):
            what = [f"Member must satisfy regular expression pattern: {pattern}", *what]
        if chosen and value not in chosen:
            what = [_enum(chosen), *what]
        return [("", f"'{value}'", one) for one in what]

    def check_length(value: Any) -> list[Violation]:
        return _NONE if type(value) is str and low <= len(value) <= high else check(value)

    return check if matches or chosen else check_length


def _blob(shape: Mapping[str, Any]) -> Check:
    low, high = _bounds(shape)

    def check(value: Any) -> list[Violation]:
        if type(value) is not str:
            raise _wrong_type(value, None, "a Blob")
        try:
            size = len(b64decode(value, validate=True))
        except ValueError as error:
            raise _no_blob(value, str(error)) from error
        if value[-1:] == "=" and value[-2:] not in _ENDINGS[0] and value[-3:] not in _ENDINGS[1]:
            raise _no_blob(value, "Invalid last non-pad Base64 character detected")
        return _NONE if low <= size <= high else [("", "", _length(size, low, high))]

    return check


def _integer(shape: Mapping[str, Any], kind: str) -> Check:
    low, high = shape.get("min", -math.inf), shape.get("max", math.inf)

    def check(value: Any) -> list[Violation]:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise _wrong_type(value, None, f"an {kind}")
        # The service cuts fractions off.
        if int(value) < low:
            return [("", f"'{int(value)}'", f"Member must have value greater than or equal to {low}")]
        if int(value) > high:
            return [("", f"'{int(value)}'", f"Member must have value less than or equal to {high}")]
        return _NONE

    return check


def _timestamp(value: Any) -> list[Violation]:
    # As the service keeps it, in 64 bits.
    if type(value) not in (int, float) or not abs(value * 1000) < 2**63:
        raise _wrong_type(value, None, "milliseconds since epoch")
    return _NONE


def _boolean(value: Any) -> list[Violation]:
    if type(value) is not bool:
        raise _wrong_type(value, None, "an Boolean")
    return _NONE


def _bounds(shape: Mapping[str, Any]) -> tuple[int, float]:
    return shape.get("min", 0), shape.get("max", math.inf)


def _length(length: int, low: int, high: float) -> str:
    return f"Member must have length {f'greater than or equal to {low}' if length < low else f'{_AT_MOST} {high}'}"


def _enum(chosen: list[str]) -> str:
    return f"Member must satisfy enum value set: [{', '.join(chosen)}]"


def _all_of(shape: Mapping[str, Any]) -> str:
    """All constraints of a string, as the service tells them of one within a list or a map."""
    said = [f"Member must have length {_AT_MOST} {shape['max']}"] if "max" in shape else []
    said += [f"Member must have length greater than or equal to {shape['min']}"] if "min" in shape else []
    said += [f"Member must satisfy regular expression pattern: {shape['pattern']}"] if "pattern" in shape else []
    said += [_enum(shape["enum"])] if "enum" in shape else []
    return f"[{', '.join(said)}]"


def _no_blob(value: str, why: str) -> KinesisError:
    shown = value if len(value) <= _SHOWN_OF_BLOB else f"{value[:_SHOWN_OF_BLOB]}…"
    return KinesisError("SerializationException", f"'{shown}' can not be converted to a Blob: {why}")


def _wrong_type(value: Any, expected: str | None, target: str = "") -> KinesisError:
    match value:
        case dict():
            message = "Start of structure or map found where not expected."
        case list():
            message = "Start of list found where not expected"
        case _ if expected:
            message = expected
        case bool():
            message = f"class java.lang.Boolean can not be converted to {target}"
        case str():
            message = f"class java.lang.String can not be converted to {target}"
        case _:
            number = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber"
            message = f"{number} can not be converted to {target}"
    return KinesisError("SerializationException", message)
