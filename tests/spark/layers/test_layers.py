"""Bronze through refine and reprocess on real Delta tables, checked against recomputations in plain Python."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow.compute as pc
import pytest
from layers import expected_activity, golden, kinesis_records, make_tables, read
from pyspark.sql import SparkSession

from tidemark.core.settings import Settings
from tidemark.definition.measures import Dialect
from tidemark.lake.log import seal
from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import INGEST_APP, REFINE_APP
from tidemark.pipelines.clickstream import clickstream
from tidemark.pipelines.producers.clickstream import events
from tidemark.quality import load_suite
from tidemark.serving import pin, query, serving_sql
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.speed.ingest import BronzeSink

ROLLUP = clickstream.rollup("activity")


@pytest.fixture(autouse=True)
def tables(settings: Settings) -> None:
    make_tables(clickstream, settings)


def served(settings: Settings) -> dict[tuple[str, datetime], tuple[int, Decimal]]:
    rows = query(pin(clickstream, ROLLUP, settings)).to_pylist()
    return {(row["event"], row["window_start"]): (row["events"], row["revenue"]) for row in rows}


def by_spark(spark: SparkSession, settings: Settings) -> list[dict[str, Any]]:
    """The serving view as Spark answers it, over the same two tables."""
    tables = tables_of(clickstream, settings)
    for name, table in (("batch", tables.batch[ROLLUP.name]), ("speed", tables.speed[ROLLUP.name])):
        spark.read.format("delta").load(table.uri).createOrReplaceTempView(name)
    text = serving_sql(clickstream, ROLLUP, Dialect.SPARK)
    return list(spark.sql(f"SELECT * FROM ({text}) ORDER BY event, window_start").toArrow().to_pylist())


def test_serving_equals_a_recomputation_before_and_after_a_reprocess_and_with_later_events(
    spark: SparkSession, settings: Settings, refine: Callable[..., None]
) -> None:
    tables = tables_of(clickstream, settings)
    sink = BronzeSink(clickstream, settings, lambda: "query-1")
    source = list(events(3000, seed=7, per_second=0.2))
    for batch_id, start in enumerate(range(0, 2000, 500)):
        assert sink.write(kinesis_records(iter(source[start : start + 500]), start), batch_id)
    refine(clickstream)

    bronze = read(tables.bronze, settings)
    kept, broken, duplicates = golden(bronze)
    assert bronze.num_rows == 2000
    assert read(tables.silver, settings).num_rows == len(kept)
    assert read(tables.quarantine, settings).num_rows == broken > 0
    log = read(tables.refine_log, settings)
    assert pc.sum(log["duplicates"]).as_py() == duplicates > 0
    assert pc.sum(log["records"]).as_py() == 2000
    assert served(settings) == expected_activity(kept)

    done = reprocess(
        spark,
        clickstream,
        load_suite(clickstream, settings),
        settings,
        date(2025, 12, 30),
        date(2026, 1, 2),
        wait_seconds=5,
    )
    assert done.covered_segment == 0
    assert served(settings) == expected_activity(kept), "a reprocess changes no answer"
    assert query(pin(clickstream, ROLLUP, settings), layer="batch").num_rows > 0
    partitions = read(tables.silver, settings).filter(pc.less(pc.field("event_date"), date(2026, 1, 2)))
    assert set(partitions["segment"].to_pylist()) == {0}

    for batch_id, start in enumerate(range(2000, 3000, 500), start=4):
        sink.write(kinesis_records(iter(source[start : start + 500]), start), batch_id)
    refine(clickstream)
    both_layers = query(pin(clickstream, ROLLUP, settings)).to_pylist()
    assert by_spark(spark, settings) == both_layers, "one view, two engines, batch and speed parts alike"
    kept, broken, duplicates = golden(read(tables.bronze, settings))
    assert set(read(tables.bronze, settings)["segment"].to_pylist()) == {0, 1}
    assert served(settings) == expected_activity(kept)
    reprocess(
        spark,
        clickstream,
        load_suite(clickstream, settings),
        settings,
        date(2025, 12, 30),
        date(2026, 1, 5),
        wait_seconds=5,
    )
    assert served(settings) == expected_activity(kept)
    assert query(pin(clickstream, ROLLUP, settings), layer="speed").num_rows == 0
    assert read(tables.silver, settings).num_rows == len(kept)


def test_a_lost_refine_checkpoint_loses_and_doubles_nothing(settings: Settings, refine: Callable[..., None]) -> None:
    tables = tables_of(clickstream, settings)
    sink = BronzeSink(clickstream, settings, lambda: "query-1")
    source = list(events(1000, seed=3, per_second=0.2))
    sink.write(kinesis_records(iter(source[:600])), 0)
    refine(clickstream, checkpoint="first")
    # The second batch repeats events whose first copy only the lost state knew.
    sink.write(kinesis_records(iter(source[500:1000]), 600), 1)
    refine(clickstream, checkpoint="second")
    kept, broken, _ = golden(read(tables.bronze, settings))
    assert read(tables.silver, settings).num_rows == len(kept)
    assert read(tables.quarantine, settings).num_rows == broken
    assert served(settings) == expected_activity(kept)
    for table in tables.refined:
        assert position(open_table(table, settings), REFINE_APP) == 1


def test_a_replayed_ingest_batch_is_written_once_and_a_new_query_goes_on_counting(settings: Settings) -> None:
    tables = tables_of(clickstream, settings)
    batch = kinesis_records(events(10))
    assert BronzeSink(clickstream, settings, lambda: "first").write(batch, 0)
    assert not BronzeSink(clickstream, settings, lambda: "first").write(batch, 0)
    assert read(tables.bronze, settings).num_rows == 10
    BronzeSink(clickstream, settings, lambda: "after the checkpoint was lost").write(kinesis_records(events(5), 10), 0)
    assert position(open_table(tables.bronze, settings), INGEST_APP) == 1
    assert sorted(set(read(tables.bronze, settings)["ingest_batch"].to_pylist())) == [0, 1]


def test_no_row_enters_a_segment_after_it_was_sealed(settings: Settings) -> None:
    tables = tables_of(clickstream, settings)
    assert seal(tables, settings) == (-1, -1)
    sink = BronzeSink(clickstream, settings, lambda: "q")
    sink.write(kinesis_records(events(3)), 0)
    sink.write(kinesis_records(events(3), 3), 1)
    assert seal(tables, settings) == (0, 1)
    assert seal(tables, settings) == (0, 1), "an empty open segment is not sealed"
    sink.write(kinesis_records(events(3), 6), 2)
    bronze = read(tables.bronze, settings)
    by_batch = dict(zip(bronze["ingest_batch"].to_pylist(), bronze["segment"].to_pylist(), strict=True))
    assert by_batch == {0: 0, 1: 0, 2: 1}
