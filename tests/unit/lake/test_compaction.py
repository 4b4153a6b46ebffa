"""What compaction merges, clusters and leaves alone, and what VACUUM may remove: by the tables' logs, without Spark."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasketches import kll_doubles_sketch
from deltalake import write_deltalake
from s3_server import ACCESS, SECRET, new_bucket, running_s3
from sample_pipeline import make_pipeline, make_rollup

from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings
from tidemark.definition import Count, Pipeline, Quantile, Window
from tidemark.lake.commits import IdempotentWriter, transactions
from tidemark.lake.evolution import create_tables
from tidemark.lake.files.data_files import StagedFile
from tidemark.lake.files.staged import staged_files
from tidemark.lake.log import seal
from tidemark.lake.maintenance.compaction import compact, small_files
from tidemark.lake.maintenance.vacuum import check_retention, vacuum
from tidemark.lake.publish import mark_judged, publish_dates
from tidemark.lake.snapshots import NOTHING, active_files, open_table, position
from tidemark.lake.tables import Table, Tables, tables_of
from tidemark.lake.transaction_ids import INGEST_APP, SEGMENT_APP, covered_app, generation_app
from tidemark.monitoring.health import Health, health
from tidemark.serving import pin, query

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = date(2026, 3, 1)
WEEK, HOUR = timedelta(days=7), timedelta(hours=1)


@pytest.fixture
def tables(pipeline: Pipeline, settings: Settings) -> Tables:
    tables = tables_of(pipeline, settings)
    create_tables(tables, settings)
    return tables


def put(tables: Tables, settings: Settings, batches: int, first: int = 0) -> None:
    """One file a micro-batch, a segment and a day each two of them, an hour apart."""
    writer = IdempotentWriter(tables.bronze, settings)
    for n in range(first, batches):
        at = NOW + n * HOUR
        row = {
            "data": b"{}",
            "ingest_batch": n,
            "segment": n // 2,
            "ingest_time": at,
            "ingest_date": date(2026, 3, 1) + timedelta(days=n // 2),
        }
        rows = pa.Table.from_pylist([row], schema=tables.bronze.schema)
        stated = {INGEST_APP: n, SEGMENT_APP: n // 2}
        writer.append_stamped(lambda _, rows=rows, stated=stated: (rows, stated), INGEST_APP, n)


def visits(tables: Tables, batch: int, segment: int, rows: int = 1) -> pa.Table:
    """Rows of silver of one micro-batch; of many, each with its own weight, and every shop among them."""
    events = [
        {
            "id": f"{batch}-{n}",
            "shop": f"s{n % 100:03}",
            "weight": (n * 7_919 + batch) % 10_007 / 10_007,
            "at": NOW + n * timedelta(milliseconds=1),
            "sequence_number": f"{hash((batch, n)):x}",
            "ingest_batch": batch,
            "segment": segment,
            "event_date": DAY,
        }
        for n in range(rows)
    ]
    return pa.Table.from_pylist(events, schema=tables.silver.schema)


def fill_silver(pipeline: Pipeline, settings: Settings) -> Tables:
    """Eight files of one date and one sealed segment, together larger than one file of a mebibyte."""
    tables = tables_of(pipeline, settings)
    create_tables(tables, settings)
    put(tables, settings, 2)
    seal(tables, settings)
    silver = IdempotentWriter(tables.silver, settings)
    for n in range(8):
        silver.append(visits(tables, n, segment=0, rows=30_000), n)
    return tables


def stage_again(table: Table, settings: Settings) -> list[StagedFile]:
    """Silver's rows, staged in no order and in several files, as a reprocess stages them."""
    rows = open_table(table, settings).to_pyarrow_table().sort_by("sequence_number")
    folder = Path(table.uri) / "staged/again/event_date=2026-03-01/segment=0"
    folder.mkdir(parents=True)
    for n, part in enumerate(range(0, rows.num_rows, rows.num_rows // 4)):
        several = rows.slice(part, rows.num_rows // 4).drop_columns(["event_date", "segment"])
        pq.write_table(several, folder / f"part-{n}.parquet")
    return staged_files(table, "staged/again", settings)


def rows_of(table: Table, settings: Settings) -> pa.Table:
    rows = open_table(table, settings).to_pyarrow_table()
    return rows.sort_by([("ingest_batch", "ascending"), ("sequence_number", "ascending")])


def opened(table: Table, settings: Settings, **wanted: object) -> int:
    """How many files a query with an equality must open, by the bounds that the log states."""
    [(column, value)] = wanted.items()
    files = pa.table(open_table(table, settings).get_add_actions(flatten=True)).to_pylist()
    bounds = [(file.get(f"min.{column}"), file.get(f"max.{column}")) for file in files]
    return sum(low is None or low <= value <= high for low, high in bounds)


def test_only_partitions_with_several_small_files_are_worth_a_rewrite(tables: Tables, settings: Settings) -> None:
    put(tables, settings, 5)
    bronze = open_table(tables.bronze, settings)
    found = small_files(bronze, tables.bronze, NOTHING, 2**20)
    assert (found.files, found.merged) == (4, 2)
    assert sorted(found.partitions) == [(date(2026, 3, 1),), (date(2026, 3, 2),)]
    assert small_files(bronze, tables.bronze, NOTHING, 1).files == 0, "none is small then"


def test_small_files_are_merged_in_sealed_segments_only(pipeline: Pipeline, tables: Tables, settings: Settings) -> None:
    put(tables, settings, 6)
    seal(tables, settings)  # segments 0 to 2
    silver = IdempotentWriter(tables.silver, settings)
    for n in range(12):
        silver.append(visits(tables, n, segment=n // 4 + 1), n)
    held = rows_of(tables.silver, settings)

    done = {one.table: one for one in compact(pipeline, settings, min_files=6)}
    assert (done["silver"].small_files, done["silver"].files_removed, done["silver"].files_after) == (8, 8, 6)
    assert done["silver"].clustered == 0
    assert done["bronze"].files_removed == 0, "a rewrite would rid it of three files only"
    assert rows_of(tables.silver, settings) == held

    compact(pipeline, settings, min_files=1)
    assert rows_of(tables.bronze, settings)["ingest_batch"].to_pylist() == list(range(6))
    assert [one.files_removed for one in compact(pipeline, settings, min_files=1)] == [0] * len(list(tables))


def test_large_partitions_are_laid_out_along_the_curve_once(tmp_path: Path) -> None:
    settings = Settings(lake_uri=str(tmp_path / "lake"), state_uri=str(tmp_path / "state"))
    pipeline = make_pipeline(cluster_by=["shop", "weight"], target_file_mb=1)
    tables = fill_silver(pipeline, settings)
    held = rows_of(tables.silver, settings)
    wanted = [{"shop": "s007"}, {"weight": 0.5}]
    before = [opened(tables.silver, settings, **asked) for asked in wanted]
    assert before == [8, 8], "each of the stream's files has rows of every shop"

    silver = compact(pipeline, settings)[1]
    assert (silver.table, silver.clustered, silver.files_removed) == ("silver", 1, 8)
    assert silver.files_added == silver.files_after >= 4
    assert all(opened(tables.silver, settings, **asked) < silver.files_after for asked in wanted)
    assert rows_of(tables.silver, settings) == held
    assert [one.clustered for one in compact(pipeline, settings)] == [0] * len(list(tables)), "it has been done"

    staged = stage_again(tables.silver, settings)
    publish_dates(tables.silver, staged, [DAY], 0, settings)
    assert opened(tables.silver, settings, shop="s007") == 4
    assert compact(pipeline, settings)[1].clustered == 1, "a reprocess has written the date anew"
    assert rows_of(tables.silver, settings) == held


def test_a_table_with_other_columns_than_the_definition_is_clustered_too(tmp_path: Path) -> None:
    settings = Settings(lake_uri=str(tmp_path / "lake"), state_uri=str(tmp_path / "state"))
    fill_silver(make_pipeline(), settings)
    changed = make_pipeline(
        schema="id STRING, shop STRING, amount DECIMAL(12,2), weight DOUBLE, at TIMESTAMP, city STRING",
        cluster_by=["city", "shop"],
        target_file_mb=1,
    )
    silver = compact(changed, settings)[1]  # the streams have not started with it yet
    assert (silver.clustered, silver.left) == (1, "")
    assert compact(changed, settings)[1].clustered == 0
    tables = tables_of(changed, settings)
    mark_judged(tables.silver, [DAY], 1, settings)
    assert position(open_table(tables.silver, settings), generation_app(DAY)) == 1


def test_what_fails_is_told_and_the_other_tables_are_compacted(
    pipeline: Pipeline, tables: Tables, settings: Settings
) -> None:
    put(tables, settings, 6)
    seal(tables, settings)
    silver = IdempotentWriter(tables.silver, settings)
    for n in range(4):
        silver.append(visits(tables, n, segment=0), n)
    lost = Path(tables.bronze.uri, open_table(tables.bronze, settings).file_uris()[0])
    lost.unlink()
    done = {one.table: one for one in compact(pipeline, settings, min_files=1)}
    assert done["bronze"].failed
    assert lost.name in done["bronze"].left
    assert done["silver"].files_removed == 4


def test_a_finished_value_that_a_file_lacks_is_still_merged_after_compaction(settings: Settings) -> None:
    def measured(rank: float) -> Pipeline:
        measures = {"visits": Count(), "weight": Quantile("weight", rank)}
        return make_pipeline(rollups=[make_rollup(window=Window("5 minutes"), measures=measures)])

    sketch = kll_doubles_sketch(200)
    for n in range(100):
        sketch.update(float(n))
    old, new = measured(0.5), measured(0.9)
    batch = tables_of(old, settings).batch["visits"]
    create_tables(tables_of(old, settings), settings)
    for shop in ("a", "b"):
        row = {
            "shop": shop, "pane_start": NOW, "visits__count": 100, "weight__kll": sketch.serialize(),
            "weight__q0_5": 49.0, "max_event_time": NOW, "max_arrival_time": NOW, "ingest_batch": 0,
            "covered_segment": 0, "event_date": DAY,
        }  # fmt: skip
        rows = pa.Table.from_pylist([row], schema=batch.schema)
        write_deltalake(
            open_table(batch, settings), rows, mode="append", commit_properties=transactions({covered_app(DAY): 0})
        )
    create_tables(tables_of(new, settings), settings)
    before = query(pin(new, new.rollups[0], settings))["weight"].to_pylist()
    assert all(weight == pytest.approx(89, abs=2) for weight in before)
    assert {one.table: one.files_removed for one in compact(new, settings, min_files=1)}["batch_visits"] == 2
    assert query(pin(new, new.rollups[0], settings))["weight"].to_pylist() == before


def test_the_log_of_a_wide_table_states_the_coordinate_of_each_file(settings: Settings) -> None:
    many = ", ".join(f"c{n} INT" for n in range(40))
    wide = make_pipeline(schema=f"id STRING, shop STRING, amount DECIMAL(12,2), at TIMESTAMP, {many}")
    tables = tables_of(wide, settings)
    create_tables(tables, settings)
    row = {"id": "1", "at": NOW, "ingest_batch": 7, "segment": 0, "event_date": DAY}
    rows = pa.Table.from_pylist([row], schema=tables.silver.schema)
    IdempotentWriter(tables.silver, settings).append(rows, 7)
    assert active_files(open_table(tables.silver, settings))["min.ingest_batch"].to_pylist() == [7]

    # As tables were made before.
    open_table(tables.silver, settings).alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "32"})
    create_tables(tables, settings)
    assert open_table(tables.silver, settings).metadata().configuration["delta.dataSkippingNumIndexedCols"] == "-1"


def test_compaction_on_s3_loses_no_commit_of_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with running_s3(tmp_path) as url:
        options = {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
        lake = f"s3://{new_bucket(url)}/lake"
        settings = Settings(lake_uri=lake, state_uri=str(tmp_path / "state"), storage_options=options)
        tables = tables_of(pipeline, settings)
        create_tables(tables, settings)
        put(tables, settings, 2)
        with ThreadPoolExecutor(1) as pool:
            stream = pool.submit(put, tables, settings, 60, first=2)
            compactions = 0
            while not stream.done():
                compactions += any(one.files_removed for one in compact(pipeline, settings, min_files=1))
            stream.result()
        compact(pipeline, settings, min_files=1)
        batches = open_table(tables.bronze, settings).to_pyarrow_table(columns=["ingest_batch"])["ingest_batch"]
    assert sorted(batches.to_pylist()) == list(range(60))
    assert compactions > 1, "beside the stream"


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
    limited = make_pipeline(max_lag=timedelta(minutes=15), max_staleness=timedelta(hours=1))
    assert health(limited, settings, NOW) == Health("shops", -1, -1, 0.0, None, {})
    put(tables, settings, 2)
    found = health(limited, settings, NOW + 3 * HOUR)
    assert (found.position, found.refined, found.lag_seconds, found.silent_seconds) == (1, -1, 3 * 3600.0, 2 * 3600.0)
    lag, silence = found.problems(limited)
    assert "lags 10,800 s behind bronze (ingest_batch -1 of 1)" in lag
    assert "no record has come to shops for 7,200 s" in silence
    assert found.problems(make_pipeline(max_lag=timedelta(days=1))) == []
