"""Whether compaction pays, and what VACUUM may remove: told by the tables' logs, without Spark."""

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from sample_pipeline import make_pipeline

from tidemark.compaction import check_retention, small_files, vacuum
from tidemark.definition import Pipeline
from tidemark.delta import OnceWriter, create_tables, open_table
from tidemark.errors import TidemarkError
from tidemark.health import Health, health
from tidemark.settings import Settings
from tidemark.tables import Tables, tables_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEEK, HOUR = timedelta(days=7), timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(lake_uri=str(tmp_path / "lake"), state_uri=str(tmp_path / "state"))


@pytest.fixture
def pipeline() -> Pipeline:
    return make_pipeline()


@pytest.fixture
def tables(pipeline: Pipeline, settings: Settings) -> Tables:
    tables = tables_of(pipeline, settings)
    create_tables(tables, settings)
    return tables


def put(tables: Tables, settings: Settings, batches: int) -> None:
    """One file a micro-batch, a segment and a day each two of them, an hour apart."""
    writer = OnceWriter(tables.bronze, settings)
    for n in range(batches):
        at = NOW + n * HOUR
        row = {
            "data": b"{}",
            "ingest_batch": n,
            "segment": n // 2,
            "ingest_time": at,
            "ingest_date": date(2026, 3, 1 + n // 2),
        }
        writer.append(pa.Table.from_pylist([row], schema=tables.bronze.schema), n)


def test_only_partitions_with_several_small_files_are_worth_a_rewrite(tables: Tables, settings: Settings) -> None:
    put(tables, settings, 5)
    bronze = open_table(tables.bronze, settings)
    found = small_files(bronze, tables.bronze)
    assert (found.files, found.merged) == (4, 2)
    assert found.dates == [date(2026, 3, 1), date(2026, 3, 2)]
    assert small_files(bronze, tables.bronze, target_bytes=1).files == 0, "none is small then"


def test_vacuum_keeps_to_the_grace_period_and_to_the_lag(
    pipeline: Pipeline, tables: Tables, settings: Settings
) -> None:
    check_retention(pipeline, settings, WEEK, HOUR)
    with pytest.raises(TidemarkError, match="less than the grace period"):
        check_retention(pipeline, settings, HOUR, 2 * HOUR)
    put(tables, settings, 1)  # months ago, and nothing has refined it
    with pytest.raises(TidemarkError, match="less than twice the lag of refine"):
        vacuum(pipeline, settings, HOUR, HOUR)


def test_vacuum_removes_what_was_staged_long_ago_and_nothing_that_is_young_or_held(
    pipeline: Pipeline, tables: Tables, settings: Settings
) -> None:
    staged = Path(tables.silver.uri) / "staged"
    old, young = staged / "dead" / "part-0.parquet", staged / "now" / "part-0.parquet"
    for file in (old, young):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"rows")
    long_ago = (datetime.now(UTC) - 2 * WEEK).timestamp()
    os.utime(old, (long_ago, long_ago))
    assert [(done.table, done.files_removed) for done in vacuum(pipeline, settings, WEEK, HOUR)] == [("silver", 1)]
    assert not old.exists()
    assert young.exists()
    assert vacuum(pipeline, settings, WEEK, HOUR) == []


def test_health_tells_lag_and_silence_and_what_is_beyond_the_limits(tables: Tables, settings: Settings) -> None:
    limited = make_pipeline(max_lag=timedelta(minutes=15), max_silence=timedelta(hours=1))
    assert health(limited, settings, NOW) == Health("shops", -1, -1, 0.0, None, {})
    put(tables, settings, 2)
    found = health(limited, settings, NOW + 3 * HOUR)
    assert (found.position, found.refined, found.lag_seconds, found.silent_seconds) == (1, -1, 3 * 3600.0, 2 * 3600.0)
    lag, silence = found.problems(limited)
    assert "lags 10,800 s behind bronze (ingest_batch -1 of 1)" in lag
    assert "no record has come to shops for 7,200 s" in silence
    assert found.problems(make_pipeline(max_lag=timedelta(days=1))) == []
