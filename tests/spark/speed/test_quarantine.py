"""Every kind of bad record ends in quarantine with its reason and its bytes; every good one in silver."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from layers import ARRIVAL, kinesis_records, make_tables, read

from tidemark.core.settings import Settings
from tidemark.lake.tables import tables_of
from tidemark.pipelines.clickstream import clickstream
from tidemark_spark.speed.ingest import BronzeSink

GOOD = {"event_id": "0000000a", "user_id": 1, "event": "click", "value": "1.50", "event_time": "2026-01-01T00:00:00Z"}
FAR = (ARRIVAL + timedelta(days=2)).isoformat()

CASES: dict[str, tuple[bytes | dict[str, object], list[str]]] = {
    "bytes that are no UTF-8": (b"\xff\xfe", ["not_utf8"]),
    "a truncated object": (b'{"event_id": "0000000b", ', ["unparseable_json"]),
    "nothing at all": (b"", ["unparseable_json"]),
    "a bare word": (b"hello", ["unparseable_json"]),
    "a number in words": ({**GOOD, "event_id": "0000000c", "value": "much"}, ["wrong_type:value"]),
    "an object for a number": (
        {**GOOD, "event_id": "0000000d", "user_id": {}},
        ["wrong_type:user_id", "expectation:expect_column_values_to_not_be_null(user_id)"],
    ),
    "no key": ({k: v for k, v in GOOD.items() if k != "event_id"}, ["missing:event_id"]),
    "no time": ({**GOOD, "event_id": "0000000e", "event_time": None}, ["missing:event_time"]),
    "a time that is none": ({**GOOD, "event_id": "0000000f", "event_time": "soon"}, ["wrong_type:event_time"]),
    "the far future": ({**GOOD, "event_id": "00000010", "event_time": FAR}, ["event_time_in_future"]),
    "an unknown kind": (
        {**GOOD, "event_id": "00000011", "event": "swipe"},
        ["expectation:expect_column_values_to_be_in_set(event)"],
    ),
    "two faults": (
        {**GOOD, "event_id": "00000012", "event": "swipe", "value": "-1"},
        [
            "expectation:expect_column_values_to_be_in_set(event)",
            "expectation:expect_column_values_to_be_between(value)",
        ],
    ),
    "a record of 1 MB": (b'{"event_id": "' + b"a" * 1_000_000, ["unparseable_json"]),
}


@pytest.fixture
def quarantined(settings: Settings, refine: Callable[..., None]) -> dict[bytes, list[str]]:
    make_tables(clickstream, settings)
    records = kinesis_records([GOOD, *(record for record, _ in CASES.values())])
    BronzeSink(clickstream, settings, lambda: "q").write(records, 0)
    refine(clickstream)
    tables = tables_of(clickstream, settings)
    assert read(tables.silver, settings)["event_id"].to_pylist() == ["0000000a"]
    sent = set(records["data"].to_pylist())
    rows = read(tables.quarantine, settings).to_pylist()
    assert {row["data"] for row in rows} <= sent, "the raw record is kept, byte for byte"
    return {row["sequence_number"]: row["reasons"] for row in rows}


def test_each_bad_record_is_quarantined_with_its_reasons(quarantined: dict[str, list[str]]) -> None:
    got = {name: quarantined.get(f"{10**55 + n}") for n, name in enumerate(CASES, start=1)}
    assert got == {name: reasons for name, (_, reasons) in CASES.items()}
