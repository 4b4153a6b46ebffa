"""Writing into a stream: every row at least once, in the order of its key; bad rows are named and nothing is put."""

from collections import Counter
from pathlib import Path

import http_calls
import pytest
from kinesis_streams import Stream
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery


def write(frame: DataFrame, stream: Stream, **options: str) -> None:
    writer = frame.write.format("kinesis").mode("append").option("streamName", stream.name)
    writer.option("endpointUrl", stream.url).options(**options).save()


def numbered(spark: SparkSession, count: int, keys: int) -> DataFrame:
    return spark.range(count).select(
        F.col("id").cast("string").alias("data"), (F.col("id") % keys).cast("string").alias("partitionKey")
    )


def test_every_row_is_put_in_the_order_of_its_key(spark: SparkSession, stream: Stream) -> None:
    write(numbered(spark, 5000, 7).coalesce(1), stream)
    found = stream.records()
    assert Counter(record["Data"] for record in found) == Counter(str(n).encode() for n in range(5000))
    for key in range(7):
        numbers = [int(record["Data"]) for record in found if record["PartitionKey"] == str(key)]
        assert numbers == sorted(numbers)


def test_throttled_records_are_put_again_until_all_are_in(spark: SparkSession, stream: Stream) -> None:
    http_calls.post(
        f"{stream.url}/_control/faults",
        json=[{"operation": "PutRecords", "kind": "throttle", "probability": 0.5, "seed": 3}],
    )
    try:
        write(numbered(spark, 3000, 50), stream, maxRecordsPerPut="100")
    finally:
        http_calls.post(f"{stream.url}/_control/faults", json=[])
    assert {record["Data"] for record in stream.records()} == {str(n).encode() for n in range(3000)}


def test_keys_are_optional_and_explicit_hash_keys_choose_the_shard(spark: SparkSession, stream: Stream) -> None:
    write(spark.range(200).select(F.col("id").cast("string").cast("binary").alias("data")), stream)
    assert len({record["ShardId"] for record in stream.records()}) == 2, "random keys spread"
    top = str(2**128 - 1)
    frame = spark.range(20).select(
        F.lit("x").alias("data"), F.lit("same").alias("partitionKey"), F.lit(top).alias("explicitHashKey")
    )
    write(frame, stream)
    shards = {record["ShardId"] for record in stream.records() if record["Data"] == b"x"}
    assert shards == {"shardId-000000000001"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"data": "CAST(NULL AS STRING)", "partitionKey": "'k'"}, "partitionKey 'k' has no data"),
        ({"data": "'x'", "partitionKey": "CAST(NULL AS STRING)"}, "no partitionKey"),
        ({"data": "'x'", "partitionKey": "''"}, "1 to 256"),
        ({"data": "repeat('x', 1048576)", "partitionKey": "'big'"}, "partitionKey 'big' has 1048579 bytes"),
        ({"data": "'x'", "partitionKey": "'k'", "explicitHashKey": "'-1'"}, "not a decimal number below"),
        ({"data": "'x'", "value": "1"}, "column value: the kinesis writer takes"),
        ({"partitionKey": "'k'"}, "no column data"),
        ({"data": "1"}, "column data is int"),
    ],
)
def test_bad_rows_and_columns_are_named_and_nothing_is_put(
    spark: SparkSession, stream: Stream, columns: dict[str, str], message: str
) -> None:
    frame = spark.range(1).selectExpr(*(f"{expression} AS {name}" for name, expression in columns.items()))
    with pytest.raises(PySparkException, match=message):
        write(frame, stream)
    assert not stream.records()


def test_what_makes_no_sense_is_refused(spark: SparkSession, stream: Stream) -> None:
    frame = numbered(spark, 1, 1)
    with pytest.raises(PySparkException, match="known are: streamName"):
        write(frame, stream, batchSize="5")
    with pytest.raises(PySparkException, match="cannot be overwritten"):
        frame.write.format("kinesis").mode("overwrite").option("streamName", stream.name).save()


def test_rows_name_their_streams(spark: SparkSession, stream: Stream, kinesis_url: str) -> None:
    other = Stream(kinesis_url)
    other.client.create_stream(StreamName=other.name, ShardCount=1)
    names = F.when(F.col("id") % 3 == 0, other.name).when(F.col("id") % 3 == 1, stream.name)
    frame = spark.range(30).select(F.col("id").cast("string").alias("data"), names.alias("streamName"))
    write(frame, stream)
    assert {int(record["Data"]) for record in other.records()} == set(range(0, 30, 3))
    assert {int(record["Data"]) for record in stream.records()} == set(range(30)) - set(range(0, 30, 3))


def copying(spark: SparkSession, stream: Stream, copy: Stream, folder: Path) -> StreamingQuery:
    """A query that puts what the one stream has into the other."""
    reader = spark.readStream.format("kinesis").option("streamName", stream.name).option("endpointUrl", stream.url)
    rows = reader.option("ledgerLocation", str(folder / "ledger")).load().select("data", "partitionKey")
    writer = rows.writeStream.format("kinesis").option("streamName", copy.name).option("endpointUrl", copy.url)
    return writer.option("checkpointLocation", str(folder / "checkpoint")).trigger(availableNow=True).start()


def test_one_stream_is_copied_into_another(spark: SparkSession, stream: Stream, tmp_path: Path) -> None:
    copy = Stream(stream.url)
    copy.client.create_stream(StreamName=copy.name, ShardCount=1)
    stream.put(500)
    assert copying(spark, stream, copy, tmp_path).awaitTermination(60)
    assert Counter(record["Data"] for record in copy.records()) == Counter(stream.values)


def test_a_query_that_could_not_put_its_batch_puts_all_of_it_when_restarted(
    spark: SparkSession, stream: Stream, tmp_path: Path
) -> None:
    copy = Stream(stream.url)
    stream.put(200)
    with pytest.raises(PySparkException, match="create it, or correct"):
        copying(spark, stream, copy, tmp_path).awaitTermination(60)
    stream.put(100)
    copy.client.create_stream(StreamName=copy.name, ShardCount=1)
    assert copying(spark, stream, copy, tmp_path).awaitTermination(60)
    assert Counter(record["Data"] for record in copy.records()) == Counter(stream.values)
