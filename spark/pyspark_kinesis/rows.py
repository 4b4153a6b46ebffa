"""From the records of a GetRecords answer to Arrow batches: the one place that names the columns."""

from binascii import a2b_base64
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql.types import BinaryType, LongType, StringType, StructField, StructType, TimestampType

from pyspark_kinesis import kpl

# Built here rather than parsed from DDL: Spark's planner process has no session to parse with.
SCHEMA = StructType(
    [
        StructField("data", BinaryType()),
        StructField("partition_key", StringType()),
        StructField("stream", StringType()),
        StructField("shard_id", StringType()),
        StructField("sequence_number", StringType()),
        StructField("sub_sequence_number", LongType()),
        StructField("approximate_arrival_timestamp", TimestampType()),
    ]
)


def to_arrow(records: list[dict[str, Any]], stream: str, shard_id: str, schema: pa.Schema) -> pa.RecordBatch:
    """One row a user record, in order. ``sub_sequence_number`` counts within a KPL aggregate, and is 0 without one.

    ``schema`` is Spark's Arrow schema of SCHEMA, which the batch equals exactly.
    """
    data = [a2b_base64(record["Data"]) for record in records]
    keys = [record["PartitionKey"] for record in records]
    numbers = [record["SequenceNumber"] for record in records]
    # The API gives seconds with a fraction, exact to the millisecond; microseconds are what Spark holds.
    arrivals = np.rint(np.array([record["ApproximateArrivalTimestamp"] for record in records], np.float64) * 1e3)
    micros = arrivals.astype(np.int64) * 1000
    subs = np.zeros(len(records), np.int64)
    if any(blob.startswith(kpl.MAGIC) for blob in data):
        split = [kpl.split(blob) or [(key, blob)] for key, blob in zip(keys, data, strict=True)]
        sizes = [len(parts) for parts in split]
        origin = np.repeat(np.arange(len(records)), sizes)
        subs = np.concatenate([np.arange(size, dtype=np.int64) for size in sizes])
        keys = [key for parts in split for key, _ in parts]
        data = [blob for parts in split for _, blob in parts]
        numbers = [numbers[index] for index in origin]
        micros = micros[origin]
    rows = len(data)
    columns = [
        pa.array(data, pa.binary()),
        pa.array(keys, pa.string()),
        pa.repeat(pa.scalar(stream, pa.string()), rows),
        pa.repeat(pa.scalar(shard_id, pa.string()), rows),
        pa.array(numbers, pa.string()),
        pa.array(subs, pa.int64()),
        pa.array(micros, pa.int64()).cast(schema.field(6).type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
