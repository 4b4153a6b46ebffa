"""Compaction against Spark's OPTIMIZE on the same files, and what clustering spares a query.

    python tests/bench/bench_compact.py --rows 2000000 --files 200

Silver of one sealed date, in as many files as a stream leaves, is copied for each contestant: ``compact`` merges (or
clusters by two columns), and Spark's Delta writer does the same by ``executeCompaction`` (or ``executeZOrderBy``) in a
session that is warm already. Then one query with an equality on the second column runs in DuckDB, on the files as the
stream left them, merged, and clustered. Ratios are of one run; seconds are the least of ``--rounds``.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import duckdb
import numpy as np
import pyarrow as pa
import typer
from delta.tables import DeltaTable as SparkDeltaTable
from pyspark.sql import SparkSession

from tidemark.core.settings import Settings, get_settings
from tidemark.core.spark_start.jars import ensure_jars
from tidemark.definition import Count, KinesisStream, Pipeline, Rollup, Window
from tidemark.lake.commits import IdempotentWriter
from tidemark.lake.evolution import create_tables
from tidemark.lake.log import seal
from tidemark.lake.maintenance.compaction import compact
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import INGEST_APP, SEGMENT_APP
from tidemark_spark.driver.session import local_session

DAY = date(2026, 3, 1)
START = datetime(2026, 3, 1, tzinfo=UTC)
CLUSTERED_BY = ["shop", "customer"]


def pipeline(clustered: bool, target_file_mb: int) -> Pipeline:
    return Pipeline(
        name="sales",
        source=KinesisStream("sales"),
        schema="id BIGINT, shop INT, customer INT, amount DOUBLE, note STRING, at TIMESTAMP",
        event_time="at",
        key=["id"],
        rollups=[Rollup("daily", by=["shop"], window=Window("1 day"), measures={"sales": Count()})],
        suite="expectations/sales.json",
        cluster_by=CLUSTERED_BY if clustered else [],
        target_file_mb=target_file_mb,
    )


def fill(definition: Pipeline, settings: Settings, rows: int, files: int) -> None:
    """Silver of one date and sealed segment; every file has rows of every shop and of many customers."""
    tables = tables_of(definition, settings)
    create_tables(tables, settings)
    bronze = IdempotentWriter(tables.bronze, settings)
    empty = tables.bronze.schema.empty_table()
    bronze.append_stamped(lambda _: (empty, {INGEST_APP: files, SEGMENT_APP: 0}), INGEST_APP, files)
    seal(tables, settings)
    silver = IdempotentWriter(tables.silver, settings)
    random = np.random.default_rng(7)
    for batch, ids in enumerate(np.array_split(np.arange(rows), files)):
        columns = {
            "id": ids,
            "shop": random.integers(0, 1_000, len(ids), dtype=np.int32),
            "customer": random.integers(0, 100_000, len(ids), dtype=np.int32),
            "amount": random.random(len(ids)),
            "note": [f"{n:032x}" for n in random.integers(0, 2**62, len(ids))],
            "at": pa.array([START + timedelta(milliseconds=int(n) * 86_400_000 // rows) for n in ids]),
            "ingest_batch": np.full(len(ids), batch),
            "segment": np.zeros(len(ids), np.int64),
            "event_date": [DAY] * len(ids),
        }
        nulls = {name: pa.nulls(len(ids), tables.silver.schema.field(name).type) for name in tables.silver.schema.names}
        silver.append(pa.table({**nulls, **columns}).select(tables.silver.schema.names), batch)


def copied(settings: Settings, name: str) -> Settings:
    """The same tables elsewhere."""
    folder = Path(settings.lake_uri).parent / name
    shutil.copytree(settings.lake_uri, folder)
    return settings.model_copy(update={"lake_uri": str(folder)})


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def asked(definition: Pipeline, settings: Settings) -> float:
    """Seconds of a query by customer."""
    silver = open_table(tables_of(definition, settings).silver, settings).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("silver", silver)
        return timed(lambda: connection.sql("SELECT sum(amount) FROM silver WHERE customer = 4711").fetchall())


def one_round(spark: SparkSession, base: Settings, target_file_mb: int) -> dict[str, float]:
    took: dict[str, float] = {}
    plain, clustered = pipeline(False, target_file_mb), pipeline(True, target_file_mb)
    took["ask_as_streamed"] = asked(plain, base)
    for what, definition in (("merge", plain), ("cluster", clustered)):
        ours, theirs = copied(base, f"{what}-ours"), copied(base, f"{what}-spark")
        took[f"{what}_ours"] = timed(lambda d=definition, s=ours: compact(d, s))
        table = SparkDeltaTable.forPath(spark, tables_of(definition, theirs).silver.uri)
        run = (
            table.optimize().executeCompaction
            if what == "merge"
            else lambda t=table: t.optimize().executeZOrderBy(CLUSTERED_BY)
        )
        took[f"{what}_spark"] = timed(run)
        took[f"ask_after_{what}"] = asked(definition, ours)
        for settings in (ours, theirs):
            shutil.rmtree(settings.lake_uri)
    return took


def main(
    rows: Annotated[int, typer.Option(help="Rows of the date.")] = 2_000_000,
    files: Annotated[int, typer.Option(help="Files that the stream left.")] = 200,
    target_file_mb: Annotated[int, typer.Option(help="Size of the files to make, in MiB.")] = 8,
    rounds: Annotated[int, typer.Option(min=2, help="The first one warms up, and does not count.")] = 4,
) -> None:
    """Print the seconds of each contestant, and the ratios."""
    given = get_settings()
    ensure_jars(given, print)
    with tempfile.TemporaryDirectory(prefix="bench-compact-") as folder:
        base = Settings(
            lake_uri=f"{folder}/lake", state_uri=f"{folder}/state", home=Path(folder), jars_dir=given.jars_dir
        )
        fill(pipeline(False, target_file_mb), base, rows, files)
        spark = local_session("bench", base)
        spark.conf.set("spark.databricks.delta.optimize.maxFileSize", str(target_file_mb * 2**20))
        all_rounds = [one_round(spark, base, target_file_mb) for _ in range(rounds)]
        spark.stop()
    least: dict[str, Any] = {name: round(min(took[name] for took in all_rounds[1:]), 3) for name in all_rounds[0]}
    least["merge: Spark's seconds over ours"] = round(least["merge_spark"] / least["merge_ours"], 2)
    least["cluster: Spark's seconds over ours"] = round(least["cluster_spark"] / least["cluster_ours"], 2)
    least["a query by customer: merged over clustered"] = round(
        least["ask_after_merge"] / least["ask_after_cluster"], 2
    )
    typer.echo(json.dumps(least, indent=2))


if __name__ == "__main__":
    typer.run(main)
