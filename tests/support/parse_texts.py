"""Parses records in a session of its own, on whatever Spark there is; what became of them goes to a file of Arrow.

Usage: ``parse_texts.py SEED COUNT ZONE FILE [FOLDER]``; packages that this Python lacks are taken from the folder.
"""

import sys

sys.path += sys.argv[5:]

import pyarrow as pa
from hostile_texts import SCHEMA, record_texts
from pyspark.sql import SparkSession

from tidemark.definition import KinesisStream, Pipeline
from tidemark.quality import Suite
from tidemark_spark.transforms.parse import parse

PIPELINE = Pipeline(
    name="p", source=KinesisStream("p"), schema=SCHEMA, event_time="at", key=["id"], rollups=[], suite="none.json"
)
COLUMNS = (
    "data BINARY, stream STRING, shard_id STRING, sequence_number STRING, sub_sequence_number BIGINT, arrival BIGINT"
)
ARRIVAL = 1_767_312_000_000_000


def parse_texts(spark: SparkSession, seed: int, count: int) -> pa.Table:
    """The rows of the records of a seed, in their order."""
    rows = [(bytearray(d), "s", "shard", f"{n:09}", 0, ARRIVAL) for n, d in enumerate(record_texts(seed, count))]
    records = spark.createDataFrame(rows, COLUMNS).selectExpr(
        "* EXCEPT (arrival)", "timestamp_micros(arrival) AS approximate_arrival_timestamp"
    )
    parsed: pa.Table = parse(records, PIPELINE, Suite("none", {}, (), ())).toArrow()
    return parsed.sort_by("sequence_number")


def main(seed: str, count: str, zone: str, file: str) -> None:
    """Parse in a session of that zone."""
    spark = SparkSession.builder.master("local[1]").config("spark.sql.session.timeZone", zone)
    spark = spark.config("spark.ui.enabled", "false").config("spark.driver.host", "127.0.0.1").getOrCreate()
    table = parse_texts(spark, int(seed), int(count))
    fields = [
        pa.field(f.name, pa.timestamp("us", "UTC") if pa.types.is_timestamp(f.type) else f.type) for f in table.schema
    ]
    with pa.OSFile(file, "wb") as sink, pa.ipc.new_file(sink, pa.schema(fields)) as writer:
        writer.write_table(table.cast(pa.schema(fields)))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:5])
