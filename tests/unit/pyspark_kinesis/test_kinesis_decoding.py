"""Pages as columns: the vectorised way and the JSON parser agree on whatever a server may answer."""

import base64
import hashlib
import itertools
import json
import random
import sys
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql.pandas.types import to_arrow_schema

from pyspark_kinesis.api import base64_bulk, kpl
from pyspark_kinesis.api.decoding import Page, Records, decode, decode_alike, decode_any
from pyspark_kinesis.reading.rows import SCHEMA, to_arrow

FIELDS = ("SequenceNumber", "ApproximateArrivalTimestamp", "Data", "PartitionKey")
AS_AWS = ("ApproximateArrivalTimestamp", "Data", "PartitionKey", "SequenceNumber")


def record(data: bytes, key: str, n: int = 0, ms: int = 1_700_000_000_123) -> dict[str, Any]:
    """As boto3 shows it, but for the timestamp."""
    return {
        "SequenceNumber": str(10**55 + n),
        "ApproximateArrivalTimestamp": ms / 1000,
        "Data": base64.b64encode(data).decode(),
        "PartitionKey": key,
    }


def body_of(records: list[dict[str, Any]], fields: tuple[str, ...] = AS_AWS, **more: Any) -> bytes:
    ordered = [{name: value[name] for name in fields if name in value} for value in records]
    return orjson.dumps({"MillisBehindLatest": 7, "NextShardIterator": "AAA", "Records": ordered, **more})


def same(one: Page, other: Page) -> bool:
    ours, theirs = one.records, other.records
    columns = [(ours.data, theirs.data), (ours.keys, theirs.keys), (ours.numbers, theirs.numbers)]
    for left, right in columns:
        left.validate(full=True)
        assert left.type == right.type
    return (
        all(left.equals(right) for left, right in columns)
        and np.array_equal(ours.arrivals_ms, theirs.arrivals_ms)
        and (one.behind_ms, one.following) == (other.behind_ms, other.following)
    )


RECORDS = st.lists(
    st.builds(record, st.binary(max_size=40), st.text(max_size=8), st.integers(0, 10**9), st.integers(0, 10**13)),
    min_size=1,
    max_size=12,
)


@given(RECORDS, st.permutations(FIELDS[:-1]), st.booleans(), st.booleans())
def test_records_written_alike_take_the_fast_way_and_come_out_the_same(
    records: list[dict[str, Any]], order: list[str], encrypted: bool, ascii_only: bool
) -> None:
    fields = (*order, "EncryptionType", "Unknown", "PartitionKey") if encrypted else (*order, "PartitionKey")
    body = body_of([{**value, "EncryptionType": "KMS", "Unknown": 5} for value in records], fields)
    if ascii_only:
        body = json.dumps(orjson.loads(body), separators=(",", ":")).encode()
    page = decode_alike(body)
    assert page is not None
    assert same(page, decode_any(body))


@given(RECORDS, st.permutations(FIELDS), st.sampled_from([(",", ":"), (", ", ": "), (",", ": ")]), st.randoms())
def test_records_that_differ_come_out_the_same_in_any_case(
    records: list[dict[str, Any]], order: list[str], separators: tuple[str, str], chance: random.Random
) -> None:
    odd = {"EncryptionType": None, "Extra": {"Records": [{"a": "}]"}]}, "Flag": True, "Note": 'a"},{\\'}
    for value in records:
        for name in chance.sample(sorted(odd), k=chance.choice([0, 0, 0, 1])):
            value[name] = odd[name]
    answer = {
        "ChildShards": [{"ShardId": "x"}],
        "Deep": {"Records": [{"SequenceNumber": "1"}]},
        "MillisBehindLatest": 0,
    }
    names = chance.sample(sorted(answer), k=chance.randrange(len(answer) + 1))
    answer = {name: answer[name] for name in names[:1]} | {
        "Records": [{name: value[name] for name in (*order, *odd) if name in value} for value in records],
        **{name: answer[name] for name in names[1:]},
    }
    body = json.dumps(answer, separators=separators).encode()
    page = decode_alike(body)
    assert page is None or same(page, decode_any(body))


@given(RECORDS, st.data())
def test_a_page_that_was_tampered_with_never_comes_out_otherwise_than_parsed(
    records: list[dict[str, Any]], data: st.DataObject
) -> None:
    body = bytearray(body_of(records))
    pieces = [b'"', b"\\", b"}", b"{", b"]", b",", b":", b"=", b'"},{"', b'\\"', b" ", b"A", b"1", b"null", b"\xc3\xa4"]
    for _ in range(data.draw(st.integers(1, 3))):
        at, length = data.draw(st.integers(0, len(body))), data.draw(st.integers(0, 3))
        body[at : at + length] = data.draw(st.sampled_from(pieces))
    page = decode_alike(bytes(body))
    try:
        expected = decode_any(bytes(body))
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    assert page is None or same(page, expected)


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=20))
def test_base64_in_bulk_is_base64(blobs: list[bytes]) -> None:
    texts = [base64.b64encode(blob) for blob in blobs]
    buffer, ends = b"".join(texts), list(itertools.accumulate(map(len, texts)))
    starts = np.array([0, *ends][: len(texts)], np.int64)
    decoded = base64_bulk.decode(base64_bulk.cut(pa.py_buffer(buffer), starts, np.array(ends, np.int64), pa.binary()))
    assert decoded is not None
    assert decoded.to_pylist() == blobs


@pytest.mark.parametrize("text", [b"A", b"A===", b"====", b"AA=A", b"A A=", b"AA-_", b"AAA\xff", b"AAAA=", b"=AAA"])
def test_what_is_no_strict_base64_is_left_to_the_parser(text: bytes) -> None:
    assert base64_bulk.decode(pa.array([b"QUJD", text, b"QQ=="], pa.binary())) is None


def test_large_records_and_pages_of_many_steps() -> None:
    chance = random.Random(4)
    records = [record(chance.randbytes(size), "k", size) for size in (2**20, 0, 1, 2**20 - 1, 70_000)]
    body = body_of(records)
    page = decode_alike(body)
    assert page is not None
    assert same(page, decode_any(body))


def test_a_page_without_records_moves_on_and_a_last_one_ends_the_shard() -> None:
    page = decode(b'{"Records":[],"NextShardIterator":"n","MillisBehindLatest":3}')
    assert (len(page.records), page.records.last, page.behind_ms, page.following) == (0, None, 3, "n")
    page = decode(body_of([record(b"x" * 9000, "k")], NextShardIterator=None))
    assert page.closed
    assert page.records.last == str(10**55)


def test_a_decoded_page_does_not_keep_the_answer_alive() -> None:
    body = body_of([record(b"abc" * 50, "kéy", n) for n in range(500)])
    before = sys.getrefcount(body)
    page = decode(body)
    assert page is not None
    assert sys.getrefcount(body) == before


def test_records_up_to_a_moment_end_before_the_first_later_one() -> None:
    page = decode(body_of([record(b"", "k", n, ms) for n, ms in enumerate([1000, 1001, 1002, 1001])]))
    assert len(page.records.through(1.001)) == 2
    assert page.records.through(1.001).last == str(10**55 + 1)
    assert len(page.records.through(1.002)) == 4
    assert len(page.records.through(0.999)) == 0


def aggregate(count: int) -> bytes:
    message = b"\x0a\x01a" + b"".join(b"\x1a\x05\x08\x00\x1a\x01" + bytes([65 + n]) for n in range(count))
    return kpl.MAGIC + message + hashlib.md5(message).digest()


@given(st.lists(st.sampled_from([b"", b"plain", aggregate(0), aggregate(1), aggregate(3), kpl.MAGIC + b"no"])))
def test_some_aggregates_among_other_records_are_split_in_place(blobs: list[bytes]) -> None:
    columns = decode(body_of([record(blob, f"k{n}", n, 1000 + n) for n, blob in enumerate(blobs)])).records
    schema = to_arrow_schema(SCHEMA, timezone="UTC")
    rows = to_arrow(columns, "s", "shard", schema)
    expected = []
    for n, blob in enumerate(blobs):
        parts = kpl.split(blob) or [(f"k{n}", blob)]
        expected += [(data, key, str(10**55 + n), sub, 1000 + n) for sub, (key, data) in enumerate(parts)]
    numbers = rows.column(6).cast(pa.int64()).to_numpy() // 1000
    found = [rows.column(at).to_pylist() for at in (0, 1, 4, 5)] + [numbers.tolist()]
    assert list(zip(*found, strict=True)) == expected
    assert rows.schema.equals(schema)
    assert isinstance(columns, Records)


@pytest.mark.parametrize("size", [10, 3_000])
def test_records_without_a_key_come_with_none(size: int) -> None:
    """Of a stream that distributes records by itself, and was written to without keys."""
    with_key = record(b"a" * size, "p")
    without = {name: value for name, value in record(b"b" * size, "", 1).items() if name != "PartitionKey"}
    page = decode(body_of([with_key, without, *[with_key] * 3]))
    assert page.records.keys.to_pylist() == ["p", None, "p", "p", "p"]
    assert SCHEMA["partitionKey"].nullable
