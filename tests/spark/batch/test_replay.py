"""Quarantine listed, explained and replayed, on real tables: what passes after a fix comes into silver once."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from layers import kinesis_records, make_tables, read
from pyspark.sql import SparkSession

from tidemark.core.errors import TableError
from tidemark.core.settings import Settings
from tidemark.lake.generations import begin_generation
from tidemark.lake.tables import tables_of
from tidemark.monitoring.quarantine import counts, explain
from tidemark.pipelines.clickstream import clickstream
from tidemark.quality import Suite, load_suite
from tidemark.serving import pin, query
from tidemark_spark.batch import replay as replaying
from tidemark_spark.batch.replay import replay
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.speed.ingest import BronzeSink

KIND = "expect_column_values_to_be_between"
RULE = f"expectation:{KIND}(value)"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "expectations").mkdir()
    return settings.model_copy(update={"project_dir": tmp_path})


def allow(settings: Settings, most: int) -> Suite:
    """A suite that allows values from 0 to ``most``, which the streams of the settings read from then on."""
    kwargs = {"column": "value", "min_value": 0, "max_value": most}
    made = [{"id": "414f27c7-bedc-5fae-8718-9531803cce39", "type": KIND, "kwargs": kwargs}]
    text = orjson.dumps({"name": "clickstream", "expectations": made, "meta": {}})
    (settings.project_dir / clickstream.suite).write_bytes(text)
    suite = load_suite(clickstream, settings)
    make_tables(clickstream, settings)
    begin_generation(clickstream, suite, settings)
    return suite


def click(number: int, value: str, day: int = 1) -> dict[str, Any]:
    row = {"event_id": f"{number:08x}", "user_id": 1, "event": "click", "value": value}
    return {**row, "event_time": f"2026-01-{day:02}T00:00:00Z"}


def test_quarantine_is_counted_explained_and_replayed_exactly_once(
    spark: SparkSession, settings: Settings, refine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = allow(settings, 10)
    sink = BronzeSink(clickstream, settings, lambda: "q")
    # The second copy of 3 is valid at once; the first is not, so both are records of one event after the fix.
    first = [click(1, "5"), click(2, "50", day=3), click(3, "70"), click(4, "500"), click(3, "7"), b"not json"]
    sink.write(kinesis_records(first), 0)
    refine(clickstream)
    tables = tables_of(clickstream, settings)
    listed = [(row["reason"], row["segment"], row["rows"]) for row in counts(clickstream, settings)]
    assert listed == [(RULE, 0, 3), ("unparseable_json", 0, 1)]
    (broken,) = explain(clickstream, strict, settings, reason="unparseable_json")
    assert (broken["record"], broken["reasons"][0]["asks"]) == (
        "not json",
        "the text is not JSON as RFC 8259 defines it",
    )
    shown = explain(clickstream, strict, settings, reason=RULE, limit=10)
    assert [row["reasons"][0]["values"] for row in shown] == [{"value": "70"}, {"value": "50"}, {"value": "500"}]
    assert shown[0]["reasons"][0]["asks"] == "min_value=0, max_value=10"

    unchanged = replay(spark, clickstream, strict, settings, wait_seconds=5)
    assert (unchanged.looked_at, unchanged.passing) == (0, {}), "the verdict would be the same"
    changed = Suite(strict.name, strict.content, (), ())
    with pytest.raises(TableError, match="restart them first"):
        replay(spark, clickstream, changed, settings, wait_seconds=5)

    relaxed = allow(settings, 100)
    tried = replay(spark, clickstream, relaxed, settings, dry_run=True)
    assert tried == (4, {date(2026, 1, 1): 1, date(2026, 1, 3): 1}, 0, 0, 0)
    assert read(tables.quarantine, settings).num_rows == 4

    # It dies after the first of the two dates was published, and before quarantine was cleared of it.
    with monkeypatch.context() as dying:
        dying.setattr("tidemark_spark.batch.slice.release_recovered", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            replay(spark, clickstream, relaxed, settings, wait_seconds=5)
    assert read(tables.quarantine, settings).num_rows == 4
    reprocessed: list[date] = []
    monkeypatch.setattr(
        replaying, "reprocess", lambda *args, **more: reprocessed.append(args[4]) or reprocess(*args, **more)
    )
    done = replay(spark, clickstream, relaxed, settings, wait_seconds=5)
    assert reprocessed == [date(2026, 1, 1), date(2026, 1, 3)]
    assert (done.released, done.in_silver, done.copies) == (2, 2, 0)
    silver = {row["event_id"]: str(row["value"]) for row in read(tables.silver, settings).to_pylist()}
    assert silver == {"00000001": "5.00", "00000002": "50.00", "00000003": "70.00"}, "the first copy of an event counts"
    assert [row["rows"] for row in counts(clickstream, settings)] == [1, 1]
    served = query(pin(clickstream, clickstream.rollup("activity"), settings)).to_pylist()
    at_midnight = [row for row in served if row["window_start"].hour == 0]
    assert [(row["window_start"].day, row["events"], str(row["revenue"])) for row in at_midnight] == [
        (1, 2, "75.00"),
        (3, 1, "50.00"),
    ]
    again = replay(spark, clickstream, relaxed, settings, wait_seconds=5)
    assert (again.passing, again.released) == ({}, 0), "nothing is moved twice"
