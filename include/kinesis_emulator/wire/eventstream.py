"""The framing of application/vnd.amazon.eventstream: messages of headers and a payload, each with two checksums.

The source is Smithy's "Amazon Event Stream Specification". The header :content-type tells the payload's encoding.
"""

import struct
from functools import cache
from zlib import crc32

from kinesis_emulator.errors import KinesisError
from kinesis_emulator.wire.encodings import Answer, Encoding

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_TEXT = 7


def event(kind: str, encoding: Encoding, payload: Answer) -> bytes:
    """An event, as SDKs hand it to who reads the stream; ``initial-response`` comes first, and they keep it."""
    return _message(_headers("event", kind, encoding.event_content_type), encoding.render(payload))


def exception(error: KinesisError, encoding: Encoding) -> bytes:
    """The message that ends a stream with an error, which SDKs raise."""
    headers = _headers("exception", error.code, encoding.event_content_type)
    return _message(headers, encoding.render({"message": str(error)}))


@cache
def _headers(message_type: str, kind: str, content_type: str) -> bytes:
    values = {":message-type": message_type, f":{message_type}-type": kind, ":content-type": content_type}
    parts = []
    for key, value in values.items():
        name, text = key.encode(), value.encode()
        parts.append(struct.pack("!B", len(name)) + name + struct.pack("!BH", _TEXT, len(text)) + text)
    return b"".join(parts)


def _message(headers: bytes, payload: bytes) -> bytes:
    """One message: lengths and their CRC-32, headers, payload, and the CRC-32 of all that."""
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    prelude = lengths + struct.pack("!I", crc32(lengths))
    checksum = crc32(payload, crc32(headers, crc32(prelude)))
    return b"".join((prelude, headers, payload, struct.pack("!I", checksum)))
