"""Splitting records that the Kinesis Producer Library aggregated.

Source: the KPL's aggregation format: four magic bytes, a protobuf message ``AggregatedRecord``, and the MD5 of that
message. Fields used: 1 partition_key_table (string, repeated), 3 records (message, repeated); of a record:
1 partition_key_index (varint), 3 data (bytes).
"""

import hashlib

MAX_RECORDS = 50_000
"""User records of an aggregate. One of more is handed on as it is: two bytes make a record, so that a megabyte could
become half a million rows, of which no bound of bytes takes notice."""
MAGIC = b"\xf3\x89\x9a\xc2"
"""What an aggregate begins with."""
_DIGEST_BYTES = 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Field number and wire type, as they stand before a value.
_KEY, _RECORD = 1 << 3 | _BYTES, 3 << 3 | _BYTES
_RECORD_KEY, _RECORD_DATA = 1 << 3 | _VARINT, 3 << 3 | _BYTES


def split(data: bytes) -> list[tuple[str, bytes]] | None:
    """(partition key, data) of each user record in an aggregate, in order; None if ``data`` is not a valid aggregate.

    A record that merely starts like an aggregate is not an error: it is handed on as it is.
    """
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + _DIGEST_BYTES:
        return None
    message, digest = data[len(MAGIC) : -_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.md5(message, usedforsecurity=False).digest() != digest:
        return None
    keys: list[str] = []
    records: list[tuple[int | None, bytes]] = []
    at = 0
    try:
        while at < len(message):
            tag, start, at = _field(message, at, len(message))
            if tag == _RECORD:
                records.append(_record(message, start, at))
                if len(records) > MAX_RECORDS:
                    return None
            elif tag == _KEY:
                keys.append(message[start:at].decode())
        return [("" if key is None else keys[key], data) for key, data in records]
    except (IndexError, ValueError):
        return None


def _record(message: bytes, at: int, end: int) -> tuple[int | None, bytes]:
    """(place of its key in the table, data) of the user record between two places of a message."""
    key, data = None, b""
    while at < end:
        tag, start, at = _field(message, at, end)
        if tag == _RECORD_KEY:
            key = message[start] if at == start + 1 else _varint(message, start)[0]
        elif tag == _RECORD_DATA:
            data = message[start:at]
    return key, data


def _field(message: bytes, at: int, end: int) -> tuple[int, int, int]:
    """(tag, start and end of its value) of the field at a place. Raises IndexError or ValueError for what is none."""
    # Nearly all tags and indexes are of one byte, and sizes of one or two: a call for each would double the time.
    tag = message[at]
    at += 1
    if tag > 0x7F:
        tag, at = _varint(message, at - 1)
    wire, start = tag & 7, at
    if wire == _BYTES:
        size, start = message[at], at + 1
        if size > 0x7F:
            if message[start] > 0x7F:
                size, start = _varint(message, at)
            else:
                size, start = size - 0x80 + (message[start] << 7), start + 1
        at = start + size
    elif wire == _VARINT:
        at += 1
        if message[start] > 0x7F:
            _, at = _varint(message, start)
    elif wire in (_FIXED64, _FIXED32):
        at += 8 if wire == _FIXED64 else 4
    else:
        raise ValueError(f"wire type {wire}")
    if at > end:
        raise ValueError("a field ends after its message")
    return tag, start, at


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
