"""What a record becomes: its values with the digits that were sent, or the reason why it is not an event.

The right values are stated here, or read by orjson and Python's own types: never by what the product reads them with.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hostile_texts import SCHEMA
from layers import ARRIVAL
from parse_texts import PIPELINE, parse_texts
from plain_times import time_by_python
from pyspark.sql import SparkSession

from tidemark.definition import KinesisStream, Pipeline
from tidemark.quality import Suite
from tidemark_spark.transforms.parse import parse

AT = "2026-01-01T00:00:00Z"
NO_RULES = Suite("none", "", (), ())


SEEDS = (1, 2)
FAR_APART = ("Etc/GMT+12", "Pacific/Kiritimati")
"""Zones 26 hours apart: at no moment is it the same day in both."""


def pipeline(**changed: Any) -> Pipeline:
    definition = {"name": "p", "source": KinesisStream("p"), "schema": SCHEMA, "event_time": "at", "key": ["id"]}
    return Pipeline(**{**definition, "rollups": [], "suite": "none.json", **changed})


def records(spark: SparkSession, texts: list[bytes]) -> Any:
    rows = [
        (bytearray(text), "s", "shard", str(n), 0, ARRIVAL, 0, 0, ARRIVAL, ARRIVAL.date())
        for n, text in enumerate(texts)
    ]
    schema = (
        "data BINARY, stream STRING, shard_id STRING, sequence_number STRING, sub_sequence_number BIGINT, "
        "approximate_arrival_timestamp TIMESTAMP, ingest_batch BIGINT, segment BIGINT, ingest_time TIMESTAMP, "
        "ingest_date DATE"
    )
    return spark.createDataFrame(rows, schema)


def parsed(spark: SparkSession, texts: list[bytes], definition: Pipeline | None = None) -> list[dict[str, Any]]:
    """The rows of some records, in their order, as Arrow gives them."""
    rows: pa.Table = parse(records(spark, texts), definition or pipeline(), NO_RULES).toArrow()
    return sorted(rows.to_pylist(), key=lambda row: (int(row["sequence_number"]), row["event_ordinal"] or 0))


def sent(**fields: str) -> bytes:
    """A record with these members, each value as JSON text, beside a key and an event time."""
    members = {"id": '"a"', "at": f'"{AT}"', **fields}
    return ("{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in members.items()) + "}").encode()


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc]


VALUES: dict[str, list[tuple[str, Any]]] = {
    "big": [("1", 1), ('"7"', 7), ('" 7 "', 7), ("9223372036854775807", 2**63 - 1), ("-0", 0), ("null", None)],
    "int": [("2147483647", 2**31 - 1)],
    "money": [
        ("90071992547409.9301", Decimal("90071992547409.9301000000")),
        ("123456789012345678.1234567890", Decimal("123456789012345678.1234567890")),
        ('"123456789012345678.1234567890"', Decimal("123456789012345678.1234567890")),
        ("1.5E+3", Decimal("1500.0000000000")),
        ("0E-18", Decimal("0E-10")),
        ('"1.00000000005"', Decimal("1.0000000001")),
        ("1e-999", Decimal("0E-10")),
    ],
    "precise": [("12345678901234567890123456789012345678", Decimal("12345678901234567890123456789012345678"))],
    "double": [("1.10", 1.1), ("1e400", float("inf")), ("5", 5.0), ("123456789012345678", 1.2345678901234568e17)],
    "yes": [("true", True), ("false", False), ('"TRUE"', True)],
    "day": [
        ('"2026-01-01"', date(2026, 1, 1)),
        ('"0001-01-01"', date(1, 1, 1)),
        ('"9999-12-31"', date(9999, 12, 31)),
        ('"2026-1-2"', date(2026, 1, 2)),
        ('"2026-01-01T23:30:00-05:00"', date(2026, 1, 1)),
    ],
    "until": [
        ('"2026-01-01T10:00:00Z"', moment(2026, 1, 1, 10)),
        ('"2026-01-01 10:00:00"', moment(2026, 1, 1, 10)),
        ('"2026-01-01"', moment(2026, 1, 1)),
        ('"2026-01-01T10:00"', moment(2026, 1, 1, 10)),
        ('"2026-01-01T10:00Z"', moment(2026, 1, 1, 10)),
        ('"2026-01-01T10:00:00.123456789Z"', moment(2026, 1, 1, 10, 0, 0, 123456)),
        ('"2026-01-01T10:00:00.123456789012345678"', moment(2026, 1, 1, 10, 0, 0, 123456)),
        ('"2026-01-01T10:00:00+05:30"', moment(2026, 1, 1, 4, 30)),
        ('"2026-01-01T10:00:00 +05:30"', moment(2026, 1, 1, 4, 30)),
        ('"2026-01-01T10:00:00+0530"', moment(2026, 1, 1, 4, 30)),
        ('"2026-01-01T10:00:00-05"', moment(2026, 1, 1, 15)),
        ('"2026-01-01T10:00:00+5:30"', moment(2026, 1, 1, 4, 30)),
        ('"2026-01-01T10:00:00 UTC"', moment(2026, 1, 1, 10)),
        ('"2026-01-01T10:00:00GMT"', moment(2026, 1, 1, 10)),
        ('"0001-01-01T00:00:00Z"', moment(1, 1, 1)),
        ('"9999-12-31T23:59:59.999999Z"', moment(9999, 12, 31, 23, 59, 59, 999999)),
        ('" 2026-01-01 "', moment(2026, 1, 1)),
    ],
    "raw": [('"aGk="', b"aGk=")],
    "note": [
        ("1.10", "1.10"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1234567890123456789.25", "1234567890123456789.25"),
        ("1E400", "1E400"),
        ("-0.0", "-0.0"),
        ("true", "true"),
        ('{"x": [1, 2.50,  {"y":-999.99999999999999995, "y":1}]}', '{"x": [1, 2.50,  {"y":-999.99999999999999995, "y":1}]}'),  # noqa: E501
        ("[ ]", "[ ]"),
        ('"\\ud83d\\ude00 \\u0041\\n"', "\U0001f600 A\n"),
        ('"\\u0000"', "\0"),
        ('""', ""),
    ],
}  # fmt: skip
WRONG: dict[str, list[str]] = {
    "big": ["9223372036854775808", "5.0", "1e3", '"12.7"', '"1_000"', "true", "9" * 2000, "{}", "[1]"],
    "int": ["2147483648"],
    "small": ["32768"],
    "money": [
        "1e-2000000000", '"1e-2000000000"', "1e2000000000", "1e-30000000", "1e-1000", "0e99999", '"1,5"',
        "1234567890123456789.5", "0." + "1" * 2000, "9" * 100_000, "[1.5]",
    ],
    "precise": ["123456789012345678901234567890123456789"],
    "yes": ['"maybe"', "2"],
    "day": [
        '"19900-05-17"', '"0000-01-01"', '"-0044-03-15"', '"+999999-01-01"', '"-999999-01-01"', '"2026-02-30"', '"2026"',  # noqa: E501
        '"2026-01"', '"12:34:56"', "19723", '"2026-01-01 oops"', '"today"', '"2026-01-01\\nx"',
    ],
    "until": [
        '"12:34:56"', '"T12:34"', '"10:15:30"', "1700000000", "1430", '"2025"', '"2025-06"', '"now"', '"today"', '"epoch"',  # noqa: E501
        '"yesterday"', '"2026-01-01T10:00:00 Europe/Berlin"', '"2026-01-01T10:00:00 PST"', '"9999-12-31T23:59:59-05:00"',  # noqa: E501
        '"+280000-01-01T00:00:00Z"', '"-270000-01-01T00:00:00Z"', '"-290308-12-21T20:00:00Z"', '"0000-01-01T00:00:00Z"',
        '"2025-02-30T00:00:00Z"', '"2026-01-01T24:00:00Z"', '"01/02/2026 10:00"', '"20260101T100000Z"', '"2026-W01-1"',
        '"2026-01-01T10:00:00+19:00"', '"0001-01-01T00:00:00+01:00"',
    ],
}  # fmt: skip
EVENT_TIMES = {
    "0000-01-01T00:00:00Z": ["event_time_out_of_range"],
    "0000-00-00T00:00:00Z": ["event_time_out_of_range"],
    "-0044-03-15T00:00:00Z": ["event_time_out_of_range"],
    "-290308-12-21T20:00:00Z": ["event_time_out_of_range"],
    "0001-01-01T00:00:00Z": ["event_time_out_of_range"],
    "0001-01-01T00:00:00+10:00": ["event_time_out_of_range"],
    "1430-01-01": ["event_time_out_of_range"],
    "1969-12-31T23:59:59.999999Z": ["event_time_out_of_range"],
    "1970-01-01T00:00:00Z": [],
    "1970-01-01T00:00:00+00:01": ["event_time_out_of_range"],
    "9999-12-31T23:59:59Z": ["event_time_in_future"],
    "9999-12-31T23:59:59-05:00": ["event_time_out_of_range"],
    "12026-01-01T00:00:00Z": ["event_time_out_of_range"],
    "+12026-01-01T00:00:00Z": ["event_time_out_of_range"],
    "12:34:56": ["wrong_type:at"],
    "soon": ["wrong_type:at"],
}
DOCUMENTS: dict[bytes, str] = {
    sent() + b"\n" + sent(): "trailing_text",
    sent() + sent(): "trailing_text",
    sent() + b"," + sent(): "trailing_text",
    sent() + b" garbage": "trailing_text",
    sent() + b"]{": "trailing_text",
    b"[" + sent() + b"]": "not_an_object",
    b"null": "not_an_object",
    b"42": "not_an_object",
    b'"{}"': "not_an_object",
    b'{"id": "a", "id": "b"}': "duplicate_member",
    b'{"id": "a", "\\u0069d": "b"}': "duplicate_member",
    b'{"id": "a", "other": 1, "other": 1}': "duplicate_member",
    b'{"id": "\\ud83d"}': "unpaired_surrogate",
    b'{"id": "\\ud83d and\\n"}': "unpaired_surrogate",
    b'{"id": "a", "note": {"x": "\\ude00\\ud83d"}}': "unpaired_surrogate",
    b'{"id": ' + b"[" * 500 + b"]" * 500 + b"}": "nested_too_deep",
    b'{"id": "a", "double": NaN}': "unparseable_json",
    b'{"id": "a", "double": -Infinity}': "unparseable_json",
    b"{'id': 'a'}": "unparseable_json",
    b'{"id": "a",}': "unparseable_json",
    b'{"id": 007}': "unparseable_json",
    b'{"id": +7}': "unparseable_json",
    b'{"id": 1.}': "unparseable_json",
    b'{"id": "a\tb"}': "unparseable_json",
    b'{"id": "\\x41"}': "unparseable_json",
    b'{"id": "a", /*x*/ "n": 1}': "unparseable_json",
    b"": "unparseable_json",
    sent()[:-1]: "unparseable_json",
    b"\xff": "not_utf8",
    b'{"id": "\xed\xa0\xbd"}': "not_utf8",
    sent().decode().encode("utf-16"): "not_utf8",
    b"\xef\xbb\xbf" + sent(): "",
    b" \r\n\t" + sent() + b"\n \t": "",
    sent(note="[" * 499 + "]" * 499): "",
    sent(note='"' + "[" * 5000 + '"'): "",
}


@pytest.fixture(params=["UTC", "America/Los_Angeles"])
def session(request: pytest.FixtureRequest, spark: SparkSession) -> Iterator[SparkSession]:
    """The session in two zones, with other settings that Spark's casts heed."""
    other = {"spark.sql.session.timeZone": request.param}
    if request.param != "UTC":
        other |= {"spark.sql.ansi.enabled": "false", "spark.sql.timestampType": "TIMESTAMP_NTZ"}
        other |= {"spark.sql.parser.escapedStringLiterals": "true", "spark.sql.caseSensitive": "true"}
    before = {name: spark.conf.get(name) for name in other}
    for name, value in other.items():
        spark.conf.set(name, value)
    yield spark
    for name, value in before.items():
        spark.conf.set(name, value or "")


def test_a_value_is_what_was_sent(session: SparkSession) -> None:
    cases = [(column, text, value) for column, known in VALUES.items() for text, value in known]
    rows = parsed(session, [sent(**{column: text}) for column, text, _ in cases])
    for (column, text, value), row in zip(cases, rows, strict=True):
        assert row[column] == value, (column, text, row["reasons"])
        assert row["reasons"] == ([f"not_finite:{column}"] if value == float("inf") else [])


def test_what_is_no_value_of_its_type_is_quarantined_and_none_takes_long(session: SparkSession) -> None:
    cases = [(column, text) for column, texts in WRONG.items() for text in texts]
    rows = parsed(session, [sent(**{column: text}) for column, text in cases])
    for (column, text), row in zip(cases, rows, strict=True):
        assert (row["reasons"], row[column]) == ([f"wrong_type:{column}"], None), (column, text[:40])


def test_an_event_time_that_some_reader_cannot_hold_is_out_of_range(session: SparkSession) -> None:
    rows = parsed(session, [sent(at=f'"{at}"') for at in EVENT_TIMES])
    assert dict(zip(EVENT_TIMES, (row["reasons"] for row in rows), strict=True)) == EVENT_TIMES


def test_the_range_of_event_times_is_that_of_dates_in_the_zone(session: SparkSession) -> None:
    west = pipeline(timezone="America/New_York", earliest=date(1000, 1, 1))
    times = ["1000-01-01T04:00:00Z", "1000-01-01T06:00:00Z", "0001-01-01T00:00:00Z", "0001-01-02T00:00:00Z"]
    rows = parsed(session, [sent(at=f'"{at}"') for at in times], west)
    assert [row["reasons"] for row in rows] == [["event_time_out_of_range"], [], *[["event_time_out_of_range"]] * 2]
    assert rows[1]["event_date"] == date(1000, 1, 1)
    tokyo = pipeline(timezone="Asia/Tokyo")
    assert parsed(session, [sent(at='"2026-01-01T15:00:00Z"')], tokyo)[0]["event_date"] == date(2026, 1, 2)


def test_a_record_is_exactly_one_json_object(session: SparkSession) -> None:
    rows = parsed(session, list(DOCUMENTS))
    assert {row["data"]: row["reasons"] for row in rows if row["reasons"]} == {
        data: [reason] for data, reason in DOCUMENTS.items() if reason
    }


@pytest.fixture
def zone(spark: SparkSession) -> Iterator[Callable[[str], None]]:
    """Sets the time zone of the session, for the test."""
    before = spark.conf.get("spark.sql.session.timeZone")
    yield lambda name: spark.conf.set("spark.sql.session.timeZone", name)
    spark.conf.set("spark.sql.session.timeZone", before or "UTC")


@pytest.mark.parametrize("seed", SEEDS)
def test_any_record_becomes_the_same_on_two_days_and_in_two_zones(
    spark: SparkSession, zone: Callable[[str], None], seed: int
) -> None:
    found = []
    for name in FAR_APART:
        zone(name)
        found.append(parse_texts(spark, seed, 1500).to_pylist())
    assert str(found[0]) == str(found[1]), "as text, in which one NaN equals another"
    assert sum(not row["reasons"] for row in found[0]) > 5


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_an_object_and_what_is_a_time_is_as_orjson_and_python_say(spark: SparkSession, seed: int) -> None:
    rows = parse_texts(spark, seed, 1500).to_pylist()
    times = 0
    for row in rows:
        data = row["data"].removeprefix(b"\xef\xbb\xbf")
        no_object = {"trailing_text", "unparseable_json", "not_utf8", "unpaired_surrogate", "nested_too_deep"}
        try:
            event = orjson.loads(data)
        except ValueError:
            # orjson reads numbers as doubles, and refuses those that are none.
            assert no_object & set(row["reasons"]) or re.search(rb"e(400|2000000000)", data), data[:200]
            continue
        if not isinstance(event, dict):
            assert row["reasons"] == ["not_an_object"]
        elif row["reasons"][:1] == ["nested_too_deep"]:
            assert b"[" * 501 in data
        elif row["reasons"][:1] == ["duplicate_member"]:
            assert b'"id":"again"' in data
        else:
            assert not no_object & set(row["reasons"])
            for column in ("at", "until"):
                text = event.get(column)
                moment = time_by_python(text) if isinstance(text, str) else None
                assert row[column] == moment, (column, text, row["reasons"])
                times += moment is not None
    assert times > 100
    assert PIPELINE.event_schema.names == tuple(part.split()[0] for part in SCHEMA.split(", "))
