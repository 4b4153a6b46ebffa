"""The framing of application/vnd.amazon.eventstream: messages of headers and a payload, each with two checksums."""

import struct
from zlib import crc32

import orjson

from kinesis_emulator.errors import KinesisError

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_TEXT = 7


def _headers(**values: str) -> bytes:
    parts = []
    for name, value in values.items():
        key = f":{name.replace('_', '-')}".encode()
        text = value.encode()
        parts.append(struct.pack("!B", len(key)) + key + struct.pack("!BH", _TEXT, len(text)) + text)
    return b"".join(parts)


def message(headers: bytes, payload: bytes) -> bytes:
    """One message: lengths and their CRC-32, headers, payload, and the CRC-32 of all that."""
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    prelude = lengths + struct.pack("!I", crc32(lengths))
    checksum = crc32(payload, crc32(headers, crc32(prelude)))
    return b"".join((prelude, headers, payload, struct.pack("!I", checksum)))


def event(kind: str) -> bytes:
    """The headers of an event that carries JSON."""
    return _headers(message_type="event", event_type=kind, content_type="application/json")


def exception(error: KinesisError) -> bytes:
    """The message that ends a stream with an error, which SDKs raise."""
    headers = _headers(message_type="exception", exception_type=error.code, content_type="application/json")
    return message(headers, orjson.dumps({"message": str(error)}))
