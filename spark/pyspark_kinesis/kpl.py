"""Splitting records that the Kinesis Producer Library aggregated.

Source: the KPL's aggregation format: four magic bytes, a protobuf message ``AggregatedRecord``, and the MD5 of that
message. Fields used: 1 partition_key_table (string, repeated), 3 records (message, repeated); of a record:
1 partition_key_index (varint), 3 data (bytes).
"""

import hashlib

MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES = 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def split(data: bytes) -> list[tuple[str, bytes]] | None:
    """(partition key, data) of each user record in an aggregate, in order; None if ``data`` is no valid aggregate.

    A record that merely starts like an aggregate is no error: it is handed on as it is.
    """
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + _DIGEST_BYTES:
        return None
    message, digest = data[len(MAGIC) : -_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.md5(message, usedforsecurity=False).digest() != digest:
        return None
    try:
        fields = _fields(message)
        keys = [value.decode() for number, value in fields if number == 1 and isinstance(value, bytes)]
        return [_record(value, keys) for number, value in fields if number == 3 and isinstance(value, bytes)]
    except (IndexError, ValueError):
        return None


def _record(message: bytes, keys: list[str]) -> tuple[str, bytes]:
    key, data = "", b""
    for number, value in _fields(message):
        if number == 1 and isinstance(value, int):
            key = keys[value]
        elif number == 3 and isinstance(value, bytes):
            data = value
    return key, data


def _fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a protobuf message, in order. Raises IndexError or ValueError where it is malformed."""
    fields: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == _VARINT:
            value, at = _varint(message, at)
        elif wire in (_BYTES, _FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
            if wire == _BYTES:
                size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("a field ends after its message")
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire}")
        fields.append((number, value))
    return fields


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a varint of more than 64 bits")
