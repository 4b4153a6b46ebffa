"""From the records of a GetRecords answer to Arrow batches: the one place that names the columns."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.types import BinaryType, DataType, LongType, StringType, StructField, StructType, TimestampType

from pyspark_kinesis.api import kpl
from pyspark_kinesis.api.decoding import Records
from pyspark_kinesis.errors import OptionError

# Built here rather than parsed from DDL: Spark's planner process has no session to parse with.
SCHEMA = StructType(
    [
        StructField("data", BinaryType()),
        StructField("partitionKey", StringType()),
        StructField("streamName", StringType()),
        StructField("shardId", StringType()),
        StructField("sequenceNumber", StringType()),
        StructField("subSequenceNumber", LongType()),
        StructField("approximateArrivalTimestamp", TimestampType()),
    ]
)
_ARROW_TYPES: dict[type[DataType], pa.DataType] = {
    BinaryType: pa.binary(),
    LongType: pa.int64(),
    StringType: pa.string(),
    TimestampType: pa.timestamp("us", tz="UTC"),
}
# What every version of Spark makes of SCHEMA; batches have to equal it exactly.
ARROW_SCHEMA = pa.schema([pa.field(field.name, _ARROW_TYPES[type(field.dataType)]) for field in SCHEMA.fields])


def check_schema(schema: StructType) -> None:
    """Raise OptionError for a schema that a reader was given, unless it is SCHEMA."""
    if schema.simpleString() != SCHEMA.simpleString():
        raise OptionError(f"the kinesis source has a schema of its own, {SCHEMA.simpleString()}: drop .schema(…)")


def to_arrow(records: Records, stream: str, shard_id: str, schema: pa.Schema) -> pa.RecordBatch:
    """One row a user record, in order. ``subSequenceNumber`` counts within a KPL aggregate, and is 0 without one.

    ``schema`` is Spark's Arrow schema of SCHEMA, which the batch equals exactly.
    """
    # Spark holds microseconds.
    micros = records.arrivals_ms * 1000
    data, keys, numbers = records.data, records.keys, records.numbers
    subs = np.zeros(len(records), np.int64)
    if (split := _split(records)) is not None:
        data, keys, origin = split
        numbers, micros = numbers.take(pa.array(origin)), micros[origin]
        subs = np.arange(len(origin)) - np.searchsorted(origin, origin)
    rows = len(data)
    columns = [
        data,
        keys,
        pa.repeat(pa.scalar(stream, pa.string()), rows),
        pa.repeat(pa.scalar(shard_id, pa.string()), rows),
        numbers,
        pa.array(subs, pa.int64()),
        pa.array(micros, pa.int64()).cast(schema.field(6).type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _split(records: Records) -> tuple[pa.BinaryArray, pa.StringArray, npt.NDArray[np.int64]] | None:
    """(data, keys, index of the Kinesis record) of each user record; None if nothing is aggregated."""
    marked = np.flatnonzero(pc.starts_with(records.data, kpl.MAGIC).to_numpy(zero_copy_only=False))
    found = [(int(index), parts) for index in marked if (parts := kpl.split(records.data[int(index)].as_py()))]
    if not found:
        return None
    sizes = np.ones(len(records), np.int64)
    aggregates = np.array([index for index, _ in found])
    sizes[aggregates] = [len(parts) for _, parts in found]
    origin = np.repeat(np.arange(len(records)), sizes)
    # Behind the records as they are, the user records of all aggregates; then each is taken from where it is.
    place = origin.copy()
    inside = np.isin(origin, aggregates)
    place[inside] = len(records) + np.arange(np.count_nonzero(inside))
    user_data = pa.array([data for _, parts in found for _, data in parts], pa.binary())
    user_keys = pa.array([key for _, parts in found for key, _ in parts], pa.string())
    if len(found) == len(records):
        return user_data, user_keys, origin
    data, keys = (
        pa.concat_arrays(both).take(pa.array(place)) for both in ((records.data, user_data), (records.keys, user_keys))
    )
    return data, keys, origin
