"""A GetRecords answer, or an event of a subscription, as columns, without a Python object for each record.

AWS writes all records of an answer alike, so the bytes between their values are the same in each. Where that holds,
which is checked byte by byte, the values are cut out of the whole page at once. All else goes through a JSON parser.
"""

import re
from binascii import a2b_base64
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from pyspark_kinesis.api import base64_bulk
from pyspark_kinesis.api.base64_bulk import cut

# Under so much, the fixed cost of a few dozen vector operations is more than the parser's.
_SMALL_BYTES = 8 * 1024
# Offsets into a page are 32 bits wide; the API stops at 10 MB.
_LARGE_BYTES = 2**31 - 1
_RECORDS = re.compile(rb'"Records":(?=\[\{)')
_FIELD = re.compile(rb'"(\w+)":(?:"[^"]*"|[-+.\deE]+)(?=[,}])')
_NEEDED = {"SequenceNumber", "ApproximateArrivalTimestamp", "Data", "PartitionKey"}
_QUOTE = ord('"')


@dataclass(frozen=True)
class Records:
    """Kinesis records in order, as columns. Arrivals are epoch milliseconds."""

    data: pa.BinaryArray
    """The records' bytes."""
    keys: pa.StringArray
    """Partition keys; null where a record has none."""
    numbers: pa.StringArray
    """Sequence numbers."""
    arrivals_ms: npt.NDArray[np.int64]
    """Approximate arrival times, in epoch milliseconds."""

    def __len__(self) -> int:
        return len(self.arrivals_ms)

    @property
    def last(self) -> str | None:
        """The last sequence number; None if there are no records."""
        return str(self.numbers[-1]) if len(self) else None

    def part(self, start: int, stop: int | None = None) -> "Records":
        """The records at places ``[start, stop)``."""
        at = slice(start, stop)
        return Records(self.data[at], self.keys[at], self.numbers[at], self.arrivals_ms[at])

    def through(self, until: float) -> "Records":
        """The leading records: those before the first one that arrived after ``until`` (epoch seconds)."""
        late = np.flatnonzero(self.arrivals_ms / 1000 > until)
        return self.part(0, int(late[0])) if len(late) else self

    def through_number(self, number: int) -> "Records":
        """The leading records: through the one of a sequence number."""
        if not len(self) or int(str(self.numbers[-1])) <= number:
            return self
        return self.part(0, bisect_right(self.numbers.to_pylist(), number, key=int))

    def after_number(self, number: int) -> "Records":
        """The trailing records: those behind a sequence number."""
        if not len(self) or int(str(self.numbers[0])) > number:
            return self
        return self.part(bisect_right(self.numbers.to_pylist(), number, key=int))


def joined(pieces: Sequence[Records]) -> Records:
    """The records of all pieces in order, in buffers of their own that hold nothing else."""
    data, keys, numbers = (
        pa.concat_arrays([getattr(piece, name) for piece in pieces]) for name in ("data", "keys", "numbers")
    )
    return Records(data, keys, numbers, np.concatenate([piece.arrivals_ms for piece in pieces]))


@dataclass(frozen=True)
class Page:
    """One answer of GetRecords, or one event of SubscribeToShard, which are written alike."""

    records: Records
    """The records in order."""
    behind_ms: int
    """How far behind the tip of the shard it is, in milliseconds; 0 at the tip."""
    following: str | None
    """The iterator, or the sequence number, to go on from; None: the shard has ended."""
    children: bool = False
    """Whether it names the shards that follow."""

    @property
    def closed(self) -> bool:
        """Whether the shard has ended, so that nothing will ever follow."""
        return self.following is None


def shard_end() -> Page:
    """The page of a shard behind which nothing is."""
    numbers = pa.array([], pa.string())
    return Page(Records(pa.array([], pa.binary()), numbers, numbers, np.array([], np.int64)), 0, None)


def decode(body: bytes) -> Page:
    """The records of an answer, or of an event's payload, and where it stands.

    Raises:
        ValueError: it is not JSON, or a value is not what the API promises.
        KeyError: a field is missing.
        TypeError: a field is of another kind.
    """
    page = decode_alike(body) if _SMALL_BYTES <= len(body) <= _LARGE_BYTES else None
    return page or decode_any(body)


def decode_any(body: bytes) -> Page:
    """As ``decode``, by a JSON parser, record by record: takes whatever the API may answer.

    Raises:
        ValueError: as ``decode`` says.
        KeyError: as ``decode`` says.
        TypeError: as ``decode`` says.
    """
    answer = orjson.loads(body)
    records = answer["Records"]
    seconds = np.array([record["ApproximateArrivalTimestamp"] for record in records], np.float64)
    columns = Records(
        pa.array([a2b_base64(record["Data"]) for record in records], pa.binary()),
        # Absent where a stream of the AUTO strategy was written to without one (API reference, Record).
        pa.array([record.get("PartitionKey") for record in records], pa.string()),
        pa.array([record["SequenceNumber"] for record in records], pa.string()),
        _milliseconds(seconds),
    )
    return _page(columns, answer)


def decode_alike(body: bytes) -> Page | None:
    """As ``decode``, all records at once; None where they are not written alike, or in a way not foreseen here."""
    text, escaped = body, b"\\" in body
    if escaped:
        # As long as before, and every quote that is left delimits a string.
        text = body.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    if (opening := _RECORDS.search(text)) is None:
        return None
    first, end = opening.end() + 1, text.rfind(b"}]") + 1
    parts = _constant_parts(text, first) if first < end else None
    if parts is None:
        return None
    names, constants = parts
    starts = _starts(text, first, end, constants)
    if starts is None:
        return None
    buffer = pa.py_buffer(body)
    spans = {name: (starts[n] + len(constants[n]), starts[n + 1]) for n, name in enumerate(names) if name in _NEEDED}
    try:
        seconds = cut(buffer, *spans["ApproximateArrivalTimestamp"], pa.string()).cast(pa.float64()).to_numpy()
        keys, numbers = (
            _strings(cut(buffer, *spans[n], pa.string()), escaped) for n in ("PartitionKey", "SequenceNumber")
        )
        for strings in (keys, numbers):
            strings.validate(full=True)  # that they are UTF-8
        # A null shows that what was taken out is the list itself, and no namesake deeper down.
        answer = orjson.loads(body[: first - 1] + b"null" + body[end + 1 :])
    except ValueError:
        return None
    data = base64_bulk.decode(cut(buffer, *spans["Data"], pa.binary()))
    if data is None or not np.isfinite(seconds).all() or answer.get("Records", "") is not None:
        return None
    return _page(Records(data, keys, numbers, _milliseconds(seconds)), answer)


def _constant_parts(text: bytes, at: int) -> tuple[list[str], list[bytes]] | None:
    """The first record's field names, and the bytes before each value and after the last; None if it is unusual."""
    names: list[str] = []
    constants: list[bytes] = []
    constant_start = at
    at += 1
    while field := _FIELD.match(text, at):
        names.append(field[1].decode())
        quoted = field[0].endswith(b'"')
        constants.append(text[constant_start : field.end(1) + len('":') + quoted])
        constant_start = field.end() - quoted
        at = field.end() + 1
        if text[field.end() : at] == b"}":
            constants.append(text[constant_start:at])
            # A last number would have no quote behind it to find its end by.
            usual = quoted and len(set(names)) == len(names) and set(names) >= _NEEDED
            return (names, constants) if usual else None
    return None


def _starts(text: bytes, first: int, end: int, constants: list[bytes]) -> list[npt.NDArray[np.int64]] | None:
    """Where each constant part begins, in each record of ``text[first:end]``; None unless all of it is as expected."""
    page = np.frombuffer(text, np.uint8, end - first, first)
    quotes = np.flatnonzero(page == _QUOTE) + first
    counts = [constant.count(b'"') for constant in constants]
    records, rest = divmod(len(quotes), sum(counts))
    if rest or not records:
        return None
    grid = quotes.reshape(records, -1)
    starts: list[npt.NDArray[np.int64]] = []
    column = 0
    for constant, count in zip(constants, counts, strict=True):
        start = grid[:, column] - constant.index(b'"')
        size = len(constant)
        if start[-1] + size > end:
            return None
        windows = np.ndarray((len(text) - size + 1,), f"V{size}", text, 0, (1,))
        if windows[start].tobytes() != constant * records:
            return None
        starts.append(start)
        column += count
    ends = starts[-1] + len(constants[-1])
    commas = page[ends[:-1] - first] == ord(",")
    if ends[-1] != end or not commas.all() or not np.array_equal(ends[:-1] + 1, starts[0][1:]):
        return None
    return starts


def _strings(texts: pa.StringArray, escaped: bool) -> pa.StringArray:
    """The strings that JSON's texts stand for. Raises ValueError for what is none."""
    if not escaped:
        return texts
    texts.validate(full=True)
    return pa.array(orjson.loads('["' + '","'.join(texts.to_pylist()) + '"]'), pa.string())


def _milliseconds(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    # The API gives seconds with a fraction, exact to the millisecond.
    return np.rint(seconds * 1e3).astype(np.int64)


def _page(records: Records, answer: dict[str, Any]) -> Page:
    following = answer.get("NextShardIterator") or answer.get("ContinuationSequenceNumber")
    return Page(records, int(answer.get("MillisBehindLatest") or 0), following, bool(answer.get("ChildShards")))
