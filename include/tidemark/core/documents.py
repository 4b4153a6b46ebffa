"""What a record holds: JSON objects, read strictly, with each field's text as it was sent.

A record is one JSON object, lines of them, or an array of them, as the definition says (``RecordFormat``). Each object
is an *event* of its own, numbered within its record. What is not an event keeps its place too, with the problem:
nothing is dropped. Strict means RFC 8259 and nothing beside: no second value, no trailing text, no NaN, no comment, no
single quote. Beyond it, in the sense of I-JSON (RFC 7493), a name stands once in an object whose fields are read, and
an unpaired surrogate is not a character. A byte order mark at the beginning is left out, as RFC 8259 allows.

Splitting is a function of the bytes and of the definition: no clock, no locale, no setting. No Spark is needed.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

RecordFormat = Literal["object", "lines", "array"]
"""What a record holds: one JSON object, lines of them, or an array of them."""
MAX_DEPTH = 500
"""Arrays and objects within one another. What is nested deeper is refused, as many readers of JSON fail on it."""
MAX_EVENTS = 50_000
"""Events of a record. One of more is quarantined as a whole, so that a few megabytes never become gigabytes of rows."""

EVENT_BYTES = 320
"""What an event takes in memory beside its bytes, in bytes of data: they stand for about ten times that (Settings)."""
_BATCH_EVENTS = 20_000
"""Events that are split at a time: Python's objects of them are many times their size."""

ORDINAL, PROBLEM, RAW = "event_ordinal", "_problem", "_raw"
"""Columns of events beside those of their records: which of its record an event is, why it is none, and its texts."""

_BOM = "\ufeff"
_BLANK = re.compile(r"[ \t\n\r]*")
# A string that has no end matches to the end of the text: to fail and begin again at each quote is quadratic.
_WITHOUT_STRINGS = re.compile(r'"(?:[^"\\]++|\\.?+)*+"?+', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")
_ESCAPES = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|.)", re.DOTALL)

Fields = dict[str, Any]


class Problem(Exception):  # noqa: N818  # it is a reason for quarantine, and ends nothing
    """Why a text is not an event; the message is the reason's name."""


class Event(NamedTuple):
    """One event of a record, or what stands in its place: its bytes, and a problem that concerns the record as a whole.

    ``ordinal`` counts from 0 within the record; it is None where the record as a whole is the event, or could not be
    split.
    """

    ordinal: int | None
    data: bytes
    problem: str | None = None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Numbers stay text, so that no digit passes through a double. Objects become tuples of pairs: a name that stands twice
# is seen, and arrays, which are lists, are told apart.
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(
    parse_float=str, parse_int=str, parse_constant=_refuse_constant, object_pairs_hook=tuple
).raw_decode


def events_of(data: bytes, holds: RecordFormat) -> list[Event]:
    """The events of a record, in their order; at least one, as a record without any has the problem ``no_event``."""
    if holds == "object":
        return [Event(None, data)]
    try:
        text = _decoded(data)
        found = [
            text.encode() for text in islice(_lines(text) if holds == "lines" else _elements(text), MAX_EVENTS + 1)
        ]
        if not found:
            raise Problem("no_event")
        if len(found) > MAX_EVENTS:
            raise Problem("too_many_events")
    except Problem as problem:
        return [Event(None, data, str(problem))]
    return [Event(ordinal, event) for ordinal, event in enumerate(found)]


def sizes_of(records: pa.ChunkedArray, holds: RecordFormat) -> list[int]:
    """What records take where they are split, in bytes: those of their data, or ``EVENT_BYTES`` an event if more.

    At least as many events are counted as ``events_of`` makes of each.
    """
    lengths = pc.fill_null(pc.binary_length(records), 0)
    if holds == "object":
        return list(lengths.to_pylist())
    marks = pc.fill_null(pc.count_substring(records, "\n" if holds == "lines" else ","), 0)
    sizes = []
    for record, length, count in zip(records, lengths.to_pylist(), marks.to_pylist(), strict=True):
        events = count + 1
        # Commas stand inside of events, too. To count elements takes a hundredth of what it takes to split them.
        if holds == "array" and events * EVENT_BYTES > length:
            events = _elements_at_most(record.as_py(), events)
        sizes.append(max(length, min(max(events, 1), MAX_EVENTS) * EVENT_BYTES))
    return sizes


def _elements_at_most(data: bytes, otherwise: int) -> int:
    try:
        value = orjson.loads(data.removeprefix(_BOM.encode()))
    except orjson.JSONDecodeError:  # it refuses some that are split
        return otherwise
    return len(value) if isinstance(value, list) else 1


def fields_of(data: bytes, names: Sequence[str]) -> dict[str, str | None]:
    """The texts of an event's fields, as ``Splitter`` gives them; none where it is not an event."""
    [raw], [problem] = Splitter(names, "object").objects([data])
    return {} if problem.is_valid else dict(raw.as_py())


def _lines(text: str) -> Iterator[str]:
    """The lines with anything in them. A line feed cannot stand inside of a JSON string, so each one ends a line."""
    return (line for line in text.split("\n") if line.strip(" \t\r"))


def _elements(text: str) -> Iterator[str]:
    """The texts of the elements of the array that a text is."""
    value, start, _ = _value(text)
    if value.__class__ is not list:
        raise Problem("not_an_array")
    at = start + 1
    for _ in value:
        begin = _skip(text, at)
        _, end = _scan(text, begin)
        yield text[begin:end]
        at = _skip(text, end) + 1  # past the comma, or the bracket


def _decoded(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Problem("not_utf8") from None
    return text[1:] if text[:1] == _BOM else text


def _value(text: str) -> tuple[Any, int, int]:
    """The one JSON value that a text is, and where it begins and ends in it."""
    # Cheap, and most texts have not that many brackets, however they stand.
    if len(text) > MAX_DEPTH and text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise Problem("nested_too_deep")
    start = 0 if text[:1] == "{" else _skip(text, 0)
    try:
        value, end = _scan(text, start)
    except ValueError:
        raise Problem("unparseable_json") from None
    if end != len(text) and _skip(text, end) != len(text):
        raise Problem("trailing_text")
    if "\\u" in text and _has_unpaired_surrogate(text):
        raise Problem("unpaired_surrogate")
    return value, start, end


def _members(value: Any) -> Fields:
    if value.__class__ is not tuple:
        raise Problem("not_an_object")
    members: Fields = dict(value)
    if len(members) != len(value):
        raise Problem("duplicate_member")
    return members


def _skip(text: str, at: int) -> int:
    """Where the white space that begins there ends."""
    blank = _BLANK.match(text, at)
    assert blank is not None
    return blank.end()


def _nested_text(wanted: str, text: str) -> str:
    """The text of a member that is an array or an object; ``text`` is known to be an object with it."""
    at = _skip(text, 0)
    while True:
        at = _skip(text, at + 1)  # past the brace, or a comma
        name, at = _scan(text, at)
        begin = _skip(text, _skip(text, at) + 1)  # past the colon
        _, at = _scan(text, begin)
        if name == wanted:
            return text[begin:at]
        at = _skip(text, at)


def _depth(text: str) -> int:
    deepest = depth = 0
    for bracket in _BRACKETS.findall(_WITHOUT_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _has_unpaired_surrogate(text: str) -> bool:
    wanted = -1  # where the second half of a pair must begin
    for escape in _ESCAPES.finditer(text):
        unit = int(escape[1], 16) if escape[1] else 0
        if wanted not in (-1, escape.start()) or (0xDC00 <= unit < 0xE000) != (wanted >= 0):
            return True
        wanted = escape.end() if 0xD800 <= unit < 0xDC00 else -1
    return wanted >= 0


class Splitter:
    """Splits records into events, and each event into the texts of the columns that a definition names."""

    def __init__(self, columns: Sequence[str], holds: RecordFormat) -> None:
        self.columns = list(columns)
        self.holds = holds

    def events(self, records: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The events of records, in order: the records' columns, and ``event_ordinal``, ``_problem`` and ``_raw``.

        ``data`` are an event's own bytes. A record with an ``event_ordinal`` is one event already. ``_raw`` holds the
        texts of the columns, of strings their characters, of all other values what was sent; null if absent or null.

        They come in batches of some 20,000 events; those of a record are in one.
        """
        known = records[ORDINAL].to_pylist() if ORDINAL in records.schema.names else [None] * records.num_rows
        kept = records.drop_columns([name for name in (ORDINAL,) if name in records.schema.names])
        if self.holds == "object":
            raw, problems = self.objects(records["data"].to_pylist())
            yield _with_columns(kept, pa.array(known, pa.int64()), problems, raw)
            return
        of: list[int] = []
        found: list[Event] = []
        for n, (record, ordinal) in enumerate(zip(records["data"], known, strict=True)):
            data = record.as_py()
            events = events_of(data, self.holds) if ordinal is None else [Event(ordinal, data)]
            of += [n] * len(events)
            found += events
            if len(found) >= _BATCH_EVENTS:
                yield self._batch(kept, of, found)
                of, found = [], []
        if found or not records.num_rows:
            yield self._batch(kept, of, found)

    def _batch(self, records: pa.RecordBatch, of: list[int], found: list[Event]) -> pa.RecordBatch:
        """``found`` as rows; ``of``: the record that each is of, by its number in ``records``."""
        bodies = [event.data for event in found]
        raw, problems = self.objects(bodies)
        whole = pa.array([event.problem for event in found], pa.string())
        # Without the records' bytes: a copy of them for each of their events would be gigabytes.
        taken = records.drop_columns(["data"]).take(pa.array(of, pa.int64()))
        at = records.schema.get_field_index("data")
        rows = taken.add_column(at, records.schema.field("data"), pa.array(bodies, pa.binary()))
        ordinals = pa.array([event.ordinal for event in found], pa.int64())
        return _with_columns(rows, ordinals, pc.coalesce(whole, problems), raw)

    @property
    def fields(self) -> list[pa.Field]:
        """The columns that ``events`` adds."""
        texts = pa.struct([(name, pa.string()) for name in self.columns])
        return [pa.field(ORDINAL, pa.int64()), pa.field(PROBLEM, pa.string()), pa.field(RAW, texts)]

    def objects(self, records: Sequence[bytes]) -> tuple[pa.StructArray, pa.Array]:
        """The texts of the columns, and the problems, of records that are one JSON object each."""
        texts: list[str] = []
        problems: list[str | None] = []
        values: list[list[Any]] = [[] for _ in self.columns]
        appends = [(name, column.append) for name, column in zip(self.columns, values, strict=True)]
        nothing: Fields = {}
        # This loop is most of what a record costs in Python, so it makes no object that it can do without.
        for record in records:
            try:
                text = _decoded(record)
                members, problem = _members(_value(text)[0]), None
            except Problem as found:
                text, members, problem = "", nothing, str(found)
            texts.append(text)
            problems.append(problem)
            get = members.get
            for name, append in appends:
                append(get(name))
        columns = [_text_array(name, column, texts) for name, column in zip(self.columns, values, strict=True)]
        return pa.StructArray.from_arrays(columns, names=self.columns), pa.array(problems, pa.string())


def _with_columns(kept: pa.RecordBatch, ordinals: pa.Array, problems: pa.Array, raw: pa.StructArray) -> pa.RecordBatch:
    made = {ORDINAL: ordinals, PROBLEM: problems, RAW: raw}
    return pa.RecordBatch.from_arrays([*kept.columns, *made.values()], names=[*kept.schema.names, *made])


def _text_array(name: str, values: list[Any], texts: Sequence[str]) -> pa.Array:
    """The texts of a column's values; ``texts`` are those of the objects that they are members of."""
    try:
        return pa.array(values, pa.string())
    except pa.ArrowTypeError:
        return pa.array([_text_of(name, value, text) for value, text in zip(values, texts, strict=True)], pa.string())


def _text_of(name: str, value: Any, text: str) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return _nested_text(name, text)
    found: str | None = value
    return found
