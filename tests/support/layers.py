"""What tests of the layers share: a lake of their own, records as Kinesis gives them, and streams that run once."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import BRONZE_SCHEMA, KINESIS_COLUMNS, Table, tables_of
from tidemark.quality import load_suite
from tidemark_spark.speed.refine import RefineSink, bronze_stream, refined_rows

ARRIVAL = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a lake without tables."""
    return Settings(lake_uri=str(tmp_path / "lake"), state_uri=str(tmp_path / "state"), data_docs_dir=tmp_path / "docs")


def make_tables(pipeline: Pipeline, settings: Settings) -> None:
    """Create all tables of a pipeline."""
    create_tables(tables_of(pipeline, settings), settings)


def kinesis_records(events: Iterable[dict[str, Any] | bytes], start: int = 0, arrival: datetime = ARRIVAL) -> pa.Table:
    """Records as the source gives them, on two shards, numbered from ``start``."""
    rows = [
        {
            "data": event if isinstance(event, bytes) else orjson.dumps(event),
            "partition_key": str(n),
            "stream": "test",
            "shard_id": f"shardId-{n % 2:012d}",
            "sequence_number": f"{10**55 + start + n}",
            "sub_sequence_number": 0,
            "approximate_arrival_timestamp": arrival,
        }
        for n, event in enumerate(events)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([BRONZE_SCHEMA.field(name) for name in KINESIS_COLUMNS]))


def read(table: Table, settings: Settings) -> pa.Table:
    """All rows of a table's newest snapshot."""
    return open_table(table, settings).to_pyarrow_dataset().to_table()


def run_refine(spark: SparkSession, pipeline: Pipeline, settings: Settings, checkpoint: str = "refine") -> None:
    """Run the refine stream over all there is, then stop it."""
    query = (
        refined_rows(bronze_stream(spark, pipeline, settings), pipeline, load_suite(pipeline, settings))
        .writeStream.foreachBatch(RefineSink(pipeline, settings))
        .option("checkpointLocation", f"{settings.state_uri}/{checkpoint}")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()


@pytest.fixture
def refine(spark: SparkSession, settings: Settings) -> Callable[..., None]:
    """Runs the refine stream of a pipeline in the lake of the test."""

    def run(pipeline: Pipeline, checkpoint: str = "refine") -> None:
        run_refine(spark, pipeline, settings, checkpoint)

    return run


def golden(bronze: pa.Table) -> tuple[dict[str, dict[str, Any]], int, int]:
    """First valid copy of each event, number of broken records, number of duplicates; in plain Python."""
    kept: dict[str, dict[str, Any]] = {}
    broken = duplicates = 0
    for row in bronze.sort_by(
        [("ingest_batch", "ascending"), ("shard_id", "ascending"), ("sequence_number", "ascending")]
    ).to_pylist():
        try:
            event = orjson.loads(row["data"])
            event["event_id"], event["user_id"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            broken += 1
            continue
        if event["event_id"] in kept:
            duplicates += 1
        else:
            kept[event["event_id"]] = event
    return kept, broken, duplicates


def expected_activity(kept: dict[str, dict[str, Any]]) -> dict[tuple[str, datetime], tuple[int, Decimal]]:
    expected: dict[tuple[str, datetime], tuple[int, Decimal]] = {}
    for event in kept.values():
        micros = int(datetime.fromisoformat(event["event_time"]).timestamp() * 1_000_000)
        pane = micros - micros % 300_000_000
        for start in (pane, pane - 300_000_000):
            key = (event["event"], datetime.fromtimestamp(start / 1_000_000, UTC))
            count, total = expected.get(key, (0, Decimal(0)))
            expected[key] = (count + 1, total + Decimal(event["value"]))
    return expected
