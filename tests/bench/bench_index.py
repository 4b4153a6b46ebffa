"""What the index of the log by date costs a micro-batch of refine, against none, in one run: milliseconds and bytes.

The same records go through refine with the index and without, in turns, each time in a lake of its own. Of each stream
the first micro-batch, which starts Spark, is left out; the median of the others counts.

    .venv/bin/python tests/bench/bench_index.py --records 20000 --batches 6
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from layers import kinesis_records, make_tables
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import tidemark_spark.speed.refine as refining
from tidemark.core.settings import Settings
from tidemark.lake.snapshots import active_files, open_table
from tidemark.lake.tables import tables_of
from tidemark.pipelines.clickstream import clickstream
from tidemark.pipelines.producers.clickstream import events
from tidemark.quality import load_suite
from tidemark_spark.driver.session import local_session
from tidemark_spark.speed.ingest import BronzeSink

Dates = Callable[[DataFrame], DataFrame]


def without(parsed: DataFrame) -> DataFrame:
    """No rows of dates, as refine was before it kept an index."""
    return parsed.withColumn("_dated", F.lit(False))


def refined(spark: SparkSession, home: Path, with_dates: Dates, records: int, batches: int) -> tuple[float, float]:
    """Median milliseconds of a micro-batch, and bytes of the refine log's data an ingest_batch."""
    settings = Settings(lake_uri=str(home / "lake"), state_uri=str(home / "state"), max_records_per_batch=records)
    make_tables(clickstream, settings)
    sink = BronzeSink(clickstream, settings, lambda: "bench")
    source = list(events(records * batches, seed=1))
    for n in range(batches):
        part = source[n * records : (n + 1) * records]
        sink.write(kinesis_records(part, n * records, arrival=datetime.now(UTC) + timedelta(days=365)), n)
    refining._with_dates = with_dates
    write, ended = refining.RefineSink(clickstream, settings), [time.perf_counter()]

    def timed(batch: DataFrame, number: int) -> None:
        write(batch, number)
        ended.append(time.perf_counter())

    query: Any = (
        refining.refined_rows(
            refining.bronze_stream(spark, clickstream, settings), clickstream, load_suite(clickstream, settings)
        )
        .writeStream.foreachBatch(timed)
        .option("checkpointLocation", f"{settings.state_uri}/refine")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    taken = [(after - before) * 1000 for before, after in pairwise(ended[1:])]
    log = active_files(open_table(tables_of(clickstream, settings).refine_log, settings))
    return statistics.median(taken), sum(log["size_bytes"].to_pylist()) / batches


def main(records: int = 20_000, batches: int = 6, rounds: int = 3) -> None:
    """Print milliseconds and bytes a micro-batch with the index and without, and their ratio, as JSON."""
    found: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    kept = refining._with_dates
    with tempfile.TemporaryDirectory() as folder:
        spark = local_session("bench", Settings(lake_uri=folder))
        spark.sparkContext.setLogLevel("ERROR")
        for n in range(rounds):
            for name, with_dates in (("with", kept), ("without", without)):
                found[name].append(refined(spark, Path(folder) / f"{n}_{name}", with_dates, records, batches))
        spark.stop()
    best = {name: min(ms for ms, _ in runs) for name, runs in found.items()}
    size = {name: runs[0][1] for name, runs in found.items()}
    result = {"records": records, "ms": {name: round(ms) for name, ms in best.items()}, "log_bytes": size}
    print(json.dumps({**result, "ratio": round(best["with"] / best["without"], 3)}))


if __name__ == "__main__":
    typer.run(main)
