"""Batch reads of a stream: all there is, between two points, by filters, with clear refusals."""

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kinesis_streams import Stream
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def batch(spark: SparkSession, stream: Stream, **options: str) -> DataFrame:
    reader = spark.read.format("kinesis").option("streamName", stream.name).option("endpointUrl", stream.url)
    return reader.options(**options).load()


def values(frame: DataFrame) -> Counter[bytes]:
    return Counter(bytes(row.data) for row in frame.select("data").collect())


def pause_a_millisecond() -> str:
    """A moment that no arrival shares."""
    time.sleep(0.003)
    moment = datetime.now(UTC)
    time.sleep(0.003)
    return moment.isoformat()


def test_all_records_of_open_and_closed_shards_are_read(spark: SparkSession, stream: Stream) -> None:
    stream.put(100)
    stream.resize(4)
    stream.put(100)
    stream.resize(2)
    stream.put(50)
    frame = batch(spark, stream)
    assert values(frame) == Counter(stream.values)
    assert frame.count() == 250, "a second evaluation counts the same"
    assert values(batch(spark, stream, tasks="2")) == Counter(stream.values)


def test_between_two_times(spark: SparkSession, stream: Stream) -> None:
    stream.put(10)
    first = pause_a_millisecond()
    stream.put(20)
    second = pause_a_millisecond()
    stream.put(30)
    span = {"startingPosition": "AT_TIMESTAMP", "startingTimestamp": first, "endingTimestamp": second}
    assert values(batch(spark, stream, **span)) == Counter(stream.values[10:30])
    assert values(batch(spark, stream, endingTimestamp=first)) == Counter(stream.values[:10])


def test_between_two_positions(spark: SparkSession, stream: Stream) -> None:
    stream.put(60)
    rows = batch(spark, stream).where("shardId LIKE '%0'").collect()
    numbers = sorted((row.sequenceNumber for row in rows), key=int)
    shard = "shardId-000000000000"
    found = batch(
        spark,
        stream,
        startingPosition=json.dumps({shard: numbers[3]}),
        endingPosition=json.dumps({shard: numbers[8]}),
    )
    assert {row.sequenceNumber for row in found.collect()} == set(numbers[4:9])


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_filters_narrow_what_is_read_and_change_no_answer(spark: SparkSession, stream: Stream, zone: str) -> None:
    spark.conf.set("spark.sql.python.filterPushdown.enabled", "true")
    spark.conf.set("spark.sql.session.timeZone", zone)
    try:
        stream.put(20)
        moment = datetime.fromisoformat(pause_a_millisecond())
        stream.put(5)
        frame = batch(spark, stream, filterPushdown="true")
        assert values(frame.where(F.col("approximateArrivalTimestamp") > moment)) == Counter(stream.values[20:])
        assert values(frame.where(F.col("approximateArrivalTimestamp") <= moment)) == Counter(stream.values[:20])
        one, two = (frame.where(f"shardId = 'shardId-00000000000{n}'").count() for n in (0, 1))
        assert one + two == 25
        assert frame.where(f"streamName = '{stream.name}' AND shardId IN ('nope')").count() == 0
    finally:
        spark.conf.unset("spark.sql.python.filterPushdown.enabled")
        spark.conf.set("spark.sql.session.timeZone", "UTC")


def test_an_empty_stream_has_no_rows(spark: SparkSession, stream: Stream) -> None:
    assert batch(spark, stream).count() == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"maxRecordsPerTrigger": "5"}, "maxRecordsPerTrigger: for readStream"),
        ({"startingPosition": "LATEST"}, "nothing to read"),
        ({"endingTimestamp": "tomorrow"}, "ISO 8601"),
        ({"endingPosition": '{"shardId-0": "TRIM_HORIZON"}'}, "sequence numbers"),
        ({"until": "2026-01-01"}, "endingTimestamp"),
    ],
)
def test_what_makes_no_sense_is_refused(
    spark: SparkSession, stream: Stream, wrong: dict[str, str], message: str
) -> None:
    with pytest.raises(PySparkException, match=message):
        batch(spark, stream, **wrong)


def test_a_schema_of_the_users_own_is_refused(spark: SparkSession, stream: Stream) -> None:
    reader = spark.read.format("kinesis").schema("data STRING").option("streamName", stream.name)
    with pytest.raises(PySparkException, match=r"drop \.schema"):
        reader.option("endpointUrl", stream.url).load().count()


def test_a_stream_that_does_not_exist_is_an_error(spark: SparkSession, kinesis_url: str) -> None:
    with pytest.raises(PySparkException, match="create it, or correct"):
        batch(spark, Stream(kinesis_url)).count()


def test_a_record_that_aged_out_is_not_asked_for_by_time(spark: SparkSession, stream: Stream) -> None:
    stream.put(3)
    long_ago = (datetime.now(UTC) - timedelta(days=300)).isoformat()
    span: dict[str, Any] = {"startingPosition": "AT_TIMESTAMP", "startingTimestamp": long_ago}
    assert batch(spark, stream, **span).count() == 3
