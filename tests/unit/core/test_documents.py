"""Splitting records into events: as strict as RFC 8259, and no text changed. The other opinion is orjson's."""

import random
from itertools import product
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.documents import (
    EVENT_BYTES,
    MAX_EVENTS,
    ORDINAL,
    PROBLEM,
    RAW,
    Splitter,
    events_of,
    fields_of,
    sizes_of,
)

NAMES = ["a", "b", "c d", 'e"f', "é", "\U0001f600"]
BLANKS = st.text(" \t\r\n", max_size=2)
DIGITS = st.text("0123456789", min_size=1, max_size=25)


@st.composite
def number_texts(draw: st.DrawFn) -> str:
    whole = draw(st.one_of(st.just("0"), st.builds("{}{}".format, st.sampled_from("123456789"), DIGITS)))
    fraction = draw(st.one_of(st.just(""), DIGITS.map(".{}".format)))
    exponent = draw(st.sampled_from(["", "e5", "E-12", "e+07"]))
    return draw(st.sampled_from(["", "-"])) + whole + fraction + exponent


@st.composite
def string_texts(draw: st.DrawFn) -> str:
    parts = st.one_of(
        st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32, exclude_characters='"\\'), max_size=5),
        st.sampled_from(
            ['\\"', "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0000", "\\u00e9", "\\ud83d\\ude00"]
        ),
    )
    return '"' + "".join(draw(st.lists(parts, max_size=4))) + '"'


SCALARS = st.one_of(number_texts(), string_texts(), st.sampled_from(["true", "false", "null"]))


def padded(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(BLANKS, parts, BLANKS).map("".join)


def arrays(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(padded(items), max_size=4).map(lambda parts: "[" + ",".join(parts) + "]")


def objects(items: st.SearchStrategy[str], names: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[str]:
    named = st.tuples(padded(names or string_texts()), padded(items)).map(":".join)
    return st.lists(named, max_size=4).map(lambda parts: "{" + ",".join(parts) + "}")


NESTED = st.recursive(SCALARS, lambda items: st.one_of(arrays(items), objects(items)), max_leaves=8)


@st.composite
def members(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """An object as text, and of each name the text of its value."""
    chosen = draw(st.lists(st.sampled_from(NAMES), unique=True))
    texts = {name: draw(NESTED) for name in chosen}
    blank = lambda: draw(BLANKS)  # noqa: E731
    parts = [f"{blank()}{orjson.dumps(n).decode()}{blank()}:{blank()}{text}{blank()}" for n, text in texts.items()]
    return blank() + "{" + ",".join(parts) + "}" + blank(), texts


def by_orjson(data: bytes) -> Any:
    """The value of a text; raises ValueError where orjson refuses it."""
    return orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))


def rows_of(splitter: Splitter, records: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches(splitter.events(records))


def split(data: bytes, holds: Any = "object", columns: list[str] | None = None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = rows_of(
        Splitter(columns or NAMES, holds), pa.RecordBatch.from_pylist([{"data": data}])
    ).to_pylist()
    return rows


@given(members())
def test_strings_are_read_and_all_else_is_as_it_was_sent(document: tuple[str, dict[str, str]]) -> None:
    text, texts = document
    [row] = split(text.encode())
    assert row[PROBLEM] is None
    for name in NAMES:
        sent = texts.get(name, "null")
        assert row[RAW][name] == (None if sent == "null" else by_orjson(sent.encode()) if sent[0] == '"' else sent)


@given(st.one_of(objects(NESTED), NESTED, st.text()), st.integers(0), st.booleans())
def test_a_text_is_refused_exactly_where_orjson_refuses_it(text: str, seed: int, spoil: bool) -> None:
    data = spoiled(text.encode(), seed) if spoil else text.encode()
    [row] = split(data)
    try:
        value = by_orjson(data)
    except ValueError:
        assert row[PROBLEM] in ("not_utf8", "unparseable_json", "trailing_text", "unpaired_surrogate")
        return
    assert row[PROBLEM] in (None, "duplicate_member") if isinstance(value, dict) else row[PROBLEM] == "not_an_object"


PIECES = ["\\ud83d", "\\ude00", "\\ud83d\\ude00", "x", "\\n", "\\u2028", "\\\\", '\\"']


@pytest.mark.parametrize("length", [1, 2, 3])
def test_half_of_a_pair_of_surrogates_is_refused_wherever_it_stands(length: int) -> None:
    for pieces in product(PIECES, repeat=length):
        data = f'{{"a": "{"".join(pieces)}", "b": "\\t"}}'.encode()
        [row] = split(data)
        try:
            value = by_orjson(data)
        except ValueError:
            assert row[PROBLEM] == "unpaired_surrogate"
        else:
            assert (row[PROBLEM], row[RAW]["a"]) == (None, value["a"])


def test_a_string_without_an_end_behind_many_brackets_costs_what_its_length_does() -> None:
    # Of a megabyte; where the cost is quadratic, this takes more than an hour.
    data = ("[" * 501 + '"' + '\\"' * 500_000).encode()
    [row] = split(data)
    assert row[PROBLEM] == "nested_too_deep"


def spoiled(data: bytes, seed: int) -> bytes:
    """The text with a byte taken out, put in or changed, or with something before or behind it."""
    rng = random.Random(seed)
    at = rng.randrange(len(data) + 1)
    some = rng.choice(
        [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b"\x00", b"\xff", b" ", b"\n"]
    )
    return rng.choice(
        [data[:at] + data[at + 1 :], data[:at] + some + data[at:], data + some + data, data + data, some + data]
    )


@given(st.lists(st.one_of(objects(NESTED), SCALARS), min_size=1, max_size=4))
def test_lines_and_arrays_give_each_element_its_text_and_its_place(texts: list[str]) -> None:
    texts = [text.replace("\n", " ") for text in texts]
    expected = list(enumerate(text.encode() for text in texts))
    for data, holds in (("\n\r\n" + "\r\n".join(texts) + "\n", "lines"), (f" [ {' , '.join(texts)} ]", "array")):
        rows = split(data.encode(), holds)
        assert [(row[ORDINAL], row["data"].strip()) for row in rows] == [(n, text.strip()) for n, text in expected]
        for row in rows:
            alone = split(row["data"])[0]
            assert (row[PROBLEM], row[RAW]) == (alone[PROBLEM], alone[RAW]), "an event by itself is read the same"


@pytest.mark.parametrize(
    ("data", "holds", "problem"),
    [
        (b"", "lines", "no_event"),
        (b" \n\t\n", "lines", "no_event"),
        (b"\xff\n{}", "lines", "not_utf8"),
        (b"[]", "array", "no_event"),
        (b"{}", "array", "not_an_array"),
        (b"[{}] [{}]", "array", "trailing_text"),
        (b"[{},]", "array", "unparseable_json"),
        (b"{}\n" * (MAX_EVENTS + 1), "lines", "too_many_events"),
        (b"[" + b"1," * MAX_EVENTS + b"1]", "array", "too_many_events"),
    ],
)
def test_a_record_that_cannot_be_split_stays_whole(data: bytes, holds: Any, problem: str) -> None:
    [row] = split(data, holds)
    assert (row["data"], row[ORDINAL], row[PROBLEM]) == (data, None, problem)


def test_broken_elements_are_told_apart_from_the_others() -> None:
    rows = split(b'[{"a": 1}, 2, {"a": 1, "a": 2}, {"a": [1, 2.50]}]', "array")
    assert [row[PROBLEM] for row in rows] == [None, "not_an_object", "duplicate_member", None]
    assert [row[RAW]["a"] for row in rows] == ["1", None, None, "[1, 2.50]"]


def test_a_record_of_as_many_events_as_may_be_is_split_however_large_it_is() -> None:
    # A copy of the record for each of its events would be 12 GB, which Arrow does not hold, and stopped the stream.
    lines = b"\n".join(b'{"a": %d}' % n for n in range(MAX_EVENTS)) + b" " * 2**17
    split = rows_of(Splitter(["a"], "lines"), pa.RecordBatch.from_pydict({"data": [lines, b"[]"], "n": [7, 8]}))
    assert split.schema.names == ["data", "n", ORDINAL, PROBLEM, RAW]
    assert split["n"].to_pylist() == [7] * MAX_EVENTS + [8]
    assert split[ORDINAL].to_pylist() == [*range(MAX_EVENTS), 0]
    assert split["data"][MAX_EVENTS - 1].as_py().strip() == b'{"a": %d}' % (MAX_EVENTS - 1)


def test_events_come_some_at_a_time_and_none_is_left_out() -> None:
    counts = [MAX_EVENTS, 1, *[7_000] * 5, 3]
    data = [b"{}\n" * count for count in counts]
    batches = list(Splitter(["a"], "lines").events(pa.RecordBatch.from_pydict({"data": data, "n": range(len(data))})))
    assert [batch.num_rows for batch in batches] == [MAX_EVENTS, 21_001, 14_003]
    numbers = [number for batch in batches for number in batch["n"].to_pylist()]
    assert numbers == [n for n, count in enumerate(counts) for _ in range(count)]


@given(st.lists(st.one_of(objects(NESTED), SCALARS, st.just("")), max_size=6), st.integers(0, 2**32), st.booleans())
def test_a_record_is_taken_for_no_fewer_events_than_it_is_split_into(texts: list[str], seed: int, spoil: bool) -> None:
    for holds, text in (("lines", "\n".join(texts)), ("array", f"[{','.join(texts)}]")):
        data = text.encode()
        if spoil:
            data = spoiled(data, seed)
        [size] = sizes_of(pa.chunked_array([[data]], pa.binary()), holds)
        assert size >= len(data)
        assert size >= EVENT_BYTES * len(events_of(data, holds))


def test_records_that_are_one_event_each_take_what_they_are_long() -> None:
    wide = b"[" + b",".join(b'{"a": [1, 2, 3], "b": "%s"}' % (b"x,y" * 200) for _ in range(10)) + b"]"
    assert sizes_of(pa.chunked_array([[b"{}", b"", wide]]), "object") == [2, 0, len(wide)]
    assert sizes_of(pa.chunked_array([[wide, b"{}" * 9]]), "array") == [len(wide), EVENT_BYTES]
    assert sizes_of(pa.chunked_array([[b"[" + b"1," * 10**6 + b"1]"]]), "array") == [EVENT_BYTES * MAX_EVENTS]


def test_a_row_with_an_ordinal_is_an_event_already() -> None:
    rows = pa.RecordBatch.from_pylist(
        [{"data": b'{"a": 1}', ORDINAL: 7}, {"data": b'{"a": 2}\n{"a": 3}', ORDINAL: None}]
    )
    split_again = rows_of(Splitter(["a"], "lines"), rows).to_pylist()
    assert [(row[ORDINAL], row[RAW]["a"]) for row in split_again] == [(7, "1"), (0, "2"), (1, "3")]


def test_a_byte_order_mark_is_left_out_and_no_event_has_no_fields() -> None:
    assert fields_of(b'\xef\xbb\xbf{"a": 1.0}', ["a", "b"]) == {"a": "1.0", "b": None}
    assert fields_of(b"[1]", ["a"]) == {}
    assert [event.data for event in events_of(b'\xef\xbb\xbf{"a": 1}\n', "lines")] == [b'{"a": 1}']
