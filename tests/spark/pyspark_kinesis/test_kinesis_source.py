"""The source in Spark: exactly once over restarts and replays, and how it behaves with triggers, limits and errors."""

import base64
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kinesis_streams import Stream
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from waits import until

MakeReading = Callable[..., Any]


def test_a_row_is_the_record(stream: Any, reading: MakeReading, sink: Any) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    put = stream.client.put_record(StreamName=stream.name, Data=b"\x00\xff", PartitionKey="kéy")
    query = reading().start(sink)
    sink.wait_for(1, query)
    (row,) = sink.rows
    assert list(row.asDict()) == [
        "data", "partitionKey", "streamName", "shardId", "sequenceNumber", "subSequenceNumber",
        "approximateArrivalTimestamp",
    ]  # fmt: skip
    assert (bytes(row.data), row.partitionKey, row.streamName) == (b"\x00\xff", "kéy", stream.name)
    assert (row.shardId, row.sequenceNumber, row.subSequenceNumber) == (put["ShardId"], put["SequenceNumber"], 0)
    assert before <= row.approximateArrivalTimestamp.astimezone(UTC) <= datetime.now(UTC) + timedelta(milliseconds=1)


def test_restarts_lose_nothing_and_double_nothing(stream: Any, reading: MakeReading, sink: Any) -> None:
    query_of = reading(maxRecordsPerTrigger=40)
    for _ in range(2):
        stream.put(100)
        query = query_of.start(sink)
        sink.wait_for(len(stream.values) - 60, query)  # stopped in the middle
        query.stop()
    query = query_of.start(sink)
    sink.wait_for(len(stream.values), query)
    sink.assert_each_once_in_order(stream)
    assert max(map(len, sink.batches.values())) <= 40


def test_a_batch_that_was_not_committed_is_replayed_to_its_recorded_end(
    stream: Any, reading: MakeReading, sink: Any, tmp_path: Path
) -> None:
    query_of = reading()
    stream.put(30)
    query = query_of.start(sink)
    sink.wait_for(30, query)
    query.stop()
    last = max(sink.batches)
    for name in (str(last), f".{last}.crc"):
        (tmp_path / "checkpoint" / "commits" / name).unlink(missing_ok=True)
    stream.put(30)
    query = query_of.start(sink)  # the sink compares the replay with what it holds
    sink.wait_for(60, query)
    sink.assert_each_once_in_order(stream)
    entries = [json.loads(path.read_text()) for path in (tmp_path / "ledger").glob("*/*/*.json")]
    assert entries, "the ledger is readable JSON"
    assert all(entry["records"] for entry in entries)


def test_two_evaluations_of_a_batch_agree_while_records_arrive(stream: Any, reading: MakeReading) -> None:
    counts: list[tuple[int, int]] = []

    def twice(frame: DataFrame, _: int) -> None:
        first = frame.count()
        stream.put(5)
        counts.append((first, frame.count()))

    stream.put(20)
    query = reading().start(twice)
    until(lambda: len(counts) >= 3 or not query.isActive, "three batches are counted", moves=lambda: len(counts))
    query.stop()
    assert len(counts) >= 3
    assert all(first == second for first, second in counts)


def test_an_idle_stream_starts_no_batch_and_then_wakes(stream: Any, reading: MakeReading, sink: Any) -> None:
    query = reading().start(sink)
    stream.put(3)
    sink.wait_for(3, query)
    batches = len(sink.batches)
    query.awaitTermination(1.5)
    assert len(sink.batches) == batches
    stream.put(1)
    sink.wait_for(4, query)
    progress = next(p for p in reversed(query.recentProgress) if p["numInputRows"])
    assert "millisBehindLatest" in (progress["sources"][0]["latestOffset"] or "")


def test_an_empty_stream_waits(stream: Any, reading: MakeReading, sink: Any) -> None:
    query = reading(startingPosition="LATEST").start(sink)
    query.awaitTermination(1.0)
    assert query.isActive
    assert not sink.rows


def test_reshards_while_running_and_while_stopped(stream: Any, reading: MakeReading, sink: Any) -> None:
    query_of = reading(maxRecordsPerTrigger=60)
    stream.put(100)
    query = query_of.start(sink)
    sink.wait_for(50, query)
    stream.resize(4)
    stream.put(100)
    sink.wait_for(150, query)
    query.stop()
    stream.resize(2)
    stream.put(50)
    stream.resize(1)
    stream.put(50)
    query = query_of.start(sink)
    sink.wait_for(300, query)
    sink.assert_each_once_in_order(stream)
    parents_first(stream, sink)


def parents_first(stream: Any, sink: Any) -> None:
    """No row of a child shard before one of its parents."""
    shards = stream.client.list_shards(StreamName=stream.name)["Shards"]
    parents = {
        shard["ShardId"]: {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")} - {None} for shard in shards
    }
    last_read = {row.shardId: batch for batch, rows in sink.batches.items() for row in rows}
    for batch, rows in sink.batches.items():
        for shard in {row.shardId for row in rows}:
            assert all(last_read.get(parent, -1) < batch for parent in parents[shard]), (
                f"{shard} before its parent's end"
            )


def test_available_now_ends_while_records_keep_coming(stream: Any, reading: MakeReading, sink: Any) -> None:
    stream.put(100)
    before = set(stream.values)
    time.sleep(0.002)  # arrivals have milliseconds

    def slow_consumer(frame: DataFrame, batch: int) -> None:
        stream.put(20)
        sink(frame, batch)

    query_of = reading(maxRecordsPerTrigger=30)
    query = query_of.start(slow_consumer, availableNow=True)
    assert query.awaitTermination(60)
    assert before <= {bytes(row.data) for row in sink.rows}
    assert len(sink.rows) < len(stream.values), "it read what came after its start"
    query = query_of.start(sink, availableNow=True)
    assert query.awaitTermination(60)
    sink.assert_each_once_in_order(stream)


def test_once_reads_all_that_there_is_in_one_batch_whatever_the_limits(
    stream: Any, reading: MakeReading, sink: Any
) -> None:
    stream.put(100)
    query_of = reading(maxRecordsPerTrigger=30, maxRecordsPerShardPerTrigger=10, maxBytesPerTrigger=50)
    for _ in range(2):
        query = query_of.start(sink, once=True)
        assert query.awaitTermination(60)
        stream.put(100)
    sizes = [len(rows) for _, rows in sorted(sink.batches.items())]
    assert sizes == [100, 100]


@pytest.mark.parametrize("limit", [{"maxRecordsPerTrigger": 30}, {"maxBytesPerShardPerTrigger": 20}])
def test_limits_hold_for_each_batch_of_available_now(
    limit: dict[str, int], stream: Any, reading: MakeReading, sink: Any
) -> None:
    stream.put(100)
    query = reading(**limit, maxRecordsPerShardPerTrigger=20).start(sink, availableNow=True)
    assert query.awaitTermination(60)
    sink.assert_each_once_in_order(stream)
    assert len(sink.batches) >= 3
    assert max(map(len, sink.batches.values())) <= 40


def test_available_now_on_an_empty_stream_ends(reading: MakeReading, sink: Any) -> None:
    assert reading().start(sink, availableNow=True).awaitTermination(60)
    assert not sink.rows


def test_available_now_whose_batches_nobody_reads_ends_with_what_to_do(stream: Any, reading: MakeReading) -> None:
    stream.put(20)
    query = reading().start(lambda frame, batch: None, availableNow=True)
    with pytest.raises(PySparkException, match="have foreachBatch read its DataFrame"):
        query.awaitTermination()


def test_a_batch_that_is_left_out_comes_with_the_next(stream: Any, reading: MakeReading, sink: Any) -> None:
    stream.put(20)
    query = reading().start(lambda frame, batch: sink(frame, batch) if batch else None, availableNow=True)
    assert query.awaitTermination(60)
    sink.assert_each_once_in_order(stream)


@pytest.mark.parametrize("committed", [True, False])
def test_a_ledger_that_is_lost_ends_the_query_before_a_row(
    stream: Any, reading: MakeReading, sink: Any, tmp_path: Path, committed: bool
) -> None:
    stream.put(20)
    query_of = reading(maxRecordsPerTrigger=10)
    assert query_of.start(sink, availableNow=True).awaitTermination(60)
    shutil.rmtree(tmp_path / "ledger")
    if not committed:
        last = max(sink.batches)
        for name in (str(last), f".{last}.crc"):
            (tmp_path / "checkpoint" / "commits" / name).unlink(missing_ok=True)
    stream.put(20)
    handed_on: list[int] = []
    query = query_of.start(lambda frame, batch: handed_on.append(frame.count()), availableNow=True)
    with pytest.raises(PySparkException, match=r"LedgerError.*ledgerLocation is lost"):
        query.awaitTermination()
    assert not handed_on


def test_an_aggregate_of_the_producer_library_is_split(stream: Any, reading: MakeReading, sink: Any) -> None:
    # Two user records, "a" and "bc", under the keys "k" and "l", as the KPL writes them.
    aggregate = base64.b64decode("84mawgoBawoBbBoFCAAaAWEaBggBGgJiY4s77PMr9syDeRVzrq7qYnU=")
    stream.client.put_record(StreamName=stream.name, Data=aggregate, PartitionKey="x")
    query = reading().start(sink)
    sink.wait_for(2, query)
    rows = [(bytes(row.data), row.partitionKey, row.subSequenceNumber) for row in sink.rows]
    assert rows == [(b"a", "k", 0), (b"bc", "l", 1)]
    assert len({row.sequenceNumber for row in sink.rows}) == 1


def test_several_streams_are_read_by_one_query_that_says_how_each_shard_stands(
    stream: Any, reading: MakeReading, sink: Any, kinesis_url: str
) -> None:
    other = Stream(kinesis_url)
    other.client.create_stream(StreamName=other.name, ShardCount=1)
    stream.put(20)
    other.put(7)
    query = reading(streamName=f"{stream.name},{other.name}").start(sink)
    sink.wait_for(27, query)
    stream.put(1)
    sink.wait_for(28, query)
    found = Counter(row.streamName for row in sink.rows)
    assert found == {stream.name: 21, other.name: 7}

    def reported() -> dict[str, Any]:
        progress = query.lastProgress
        return json.loads(progress.sources[0].latestOffset or "{}") if progress else {}

    keys = {f"{stream.name}/shardId-000000000000", f"{stream.name}/shardId-000000000001"}
    mine = f"{other.name}/shardId-000000000000"

    def is_complete() -> bool:
        stream.put(1)  # what a batch cost is known once the next one is planned
        return set(reported()) == {*keys, mine} and "records" in reported()[mine]

    until(is_complete, "each shard is reported", moves=reported)
    shard = reported()[mine]
    assert (shard["millisBehindLatest"], shard["records"], shard["throttles"], shard["recordsBehind"]) == (0, 7, 0, 0)
    assert shard["getRecordsCalls"] >= 1
    assert shard["bytes"] > 0


def test_an_unknown_option_is_refused_with_the_known_ones(spark: SparkSession) -> None:
    with pytest.raises(PySparkException, match=r"unknown option startingposition2.*streamName"):
        spark.readStream.format("kinesis").option("startingPosition2", "LATEST").load()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"streamName": "no-such-stream"}, "no-such-stream.*create it, or correct"),
        ({"endpointUrl": "http://127.0.0.1:9"}, "endpointUrl"),
    ],
)
def test_what_cannot_be_read_ends_the_query_with_the_remedy(
    wrong: dict[str, str], message: str, reading: MakeReading, sink: Any
) -> None:
    query = reading(**wrong).start(sink)
    with pytest.raises(PySparkException, match=f"(?s){message}"):
        query.awaitTermination(300)  # an endpoint that refuses connections is waited for for a minute
