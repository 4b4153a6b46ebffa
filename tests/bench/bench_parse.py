"""What strict splitting of records costs, against Spark's own ``from_json`` in the same run: CPU of all processes.

Both read the same records from Parquet, on one core and in turns; the best of each counts. Spark's way is what Tidemark
had before it was strict: it loses what follows the first document, and passes numbers through a double.

    .venv/bin/python tests/bench/bench_parse.py --rows 200000
"""

import json
import tempfile
import time
from datetime import UTC, datetime

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from tidemark.core.documents import Splitter
from tidemark.core.settings import get_settings
from tidemark.lake.tables import BRONZE_SCHEMA
from tidemark.pipelines.clickstream import clickstream
from tidemark.pipelines.producers.clickstream import events
from tidemark.quality import load_suite
from tidemark_spark.driver.session import local_session
from tidemark_spark.transforms.parse import parse, split


def bronze(rows: int) -> pa.Table:
    """Records of the sample producer, as bronze has them."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    data = [json.dumps(event).encode() if isinstance(event, dict) else event for event in events(rows, seed=1)]
    constants = {"partition_key": "k", "stream": "s", "shard_id": "0", "ingest_batch": 0, "segment": 0}
    values = {"data": data, "sequence_number": [str(10**55 + n) for n in range(rows)]}
    columns = {}
    for field in BRONZE_SCHEMA:
        default = now if pa.types.is_timestamp(field.type) else now.date() if pa.types.is_date(field.type) else 0
        columns[field.name] = values.get(field.name) or [constants.get(field.name, default)] * rows
    return pa.table(columns, schema=BRONZE_SCHEMA)


def by_spark(records: DataFrame) -> DataFrame:
    """The texts of the fields as Spark's JSON reader gives them."""
    schema = ", ".join(f"`{name}` STRING" for name in clickstream.event_schema.names)
    return records.withColumn("_raw", F.expr(f"from_json(CAST(data AS STRING), '{schema}')"))


def cpu_seconds() -> float:
    """Of this process and all below it: the JVM, and the Python workers."""
    mine = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (mine, *mine.children(recursive=True)))


def main(rows: int = 200_000, rounds: int = 5) -> None:
    """Print microseconds of CPU a record, and their ratio, as JSON."""
    settings = get_settings()
    spark = local_session("bench", settings, "local[1]")
    spark.sparkContext.setLogLevel("ERROR")
    suite = load_suite(clickstream, settings)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(bronze(rows), f"{folder}/bronze.parquet")
        records = spark.read.parquet(f"{folder}/bronze.parquet")
        ways = {
            "read": records,
            "read, from_json": by_spark(records),
            "read, split": split(records, clickstream),
            "read, parse": parse(records, clickstream, suite),
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(rounds):
            for name, way in ways.items():
                began = cpu_seconds()
                way.write.format("noop").mode("overwrite").save()
                best[name] = min(best[name], cpu_seconds() - began)
    batches = [pa.RecordBatch.from_arrays([part.combine_chunks()], ["data"]) for part in chunks(bronze(rows)["data"])]
    splitter = Splitter(clickstream.event_schema.names, "object")
    began = time.process_time()
    for batch in batches:
        list(splitter.events(batch))
    best["split, where the stream reads"] = time.process_time() - began
    spark.stop()
    json_alone = best["read, from_json"] - best["read"]
    ratios = {
        "from_json over split, in a batch": json_alone / (best["read, split"] - best["read"]),
        "from_json over split, in the stream": json_alone / best["split, where the stream reads"],
    }
    microseconds = {f"{name}: us/record": round(seconds / rows * 1e6, 2) for name, seconds in best.items()}
    typer.echo(json.dumps({**microseconds, **{name: round(ratio, 2) for name, ratio in ratios.items()}}, indent=2))


def chunks(data: pa.ChunkedArray, size: int = 4_000) -> list[pa.ChunkedArray]:
    """The records in parts, as the reader of bronze splits them."""
    return [data.slice(start, size) for start in range(0, len(data), size)]


if __name__ == "__main__":
    typer.run(main)
