"""Enhanced fan-out in Spark: the same rows exactly once, by subscriptions, and consumers that are cleaned up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from kinesis_streams import Stream
from pyspark.errors import PySparkException
from waits import until

MakeReading = Callable[..., Any]


def arn_of(stream: Stream) -> str:
    return str(stream.client.describe_stream_summary(StreamName=stream.name)["StreamDescriptionSummary"]["StreamARN"])


def consumers_of(stream: Stream) -> list[str]:
    found = stream.client.list_stream_consumers(StreamARN=arn_of(stream))["Consumers"]
    return [consumer["ConsumerName"] for consumer in found]


def calls(stream: Stream, operation: str) -> int:
    return int(json.loads(urlopen(f"{stream.url}/_control/stats").read())["calls"].get(operation, 0))


def put_one_by_one(stream: Stream, sink: Any, query: Any, number: int) -> None:
    """Put records, each when the one before has come."""
    for _ in range(number):
        stream.put(1)
        sink.wait_for(len(stream.values), query)


def test_what_arrives_is_pushed_and_the_consumer_goes_with_the_query(
    stream: Any, reading: MakeReading, sink: Any
) -> None:
    stream.put(30)
    query = reading(consumerName="spark").start(sink)
    sink.wait_for(30, query)

    def are_pushed(number: int) -> bool:
        before = calls(stream, "GetRecords")
        put_one_by_one(stream, sink, query, number)
        return calls(stream, "GetRecords") == before

    # Until the subscription of each shard is there, which a busy machine takes its time for, shards are asked.
    assert any(are_pushed(10) for _ in range(20)), "what was pushed was asked for, too"
    assert consumers_of(stream) == ["spark"]
    sink.assert_each_once_in_order(stream)
    progress = next(p for p in reversed(query.recentProgress) if p["numInputRows"])
    shards = json.loads(progress["sources"][0]["latestOffset"]).values()
    assert sum(shard["subscribeToShardCalls"] for shard in shards) >= 2
    assert sum(shard["events"] for shard in shards) >= 10
    query.stop()
    until(lambda: not consumers_of(stream), "the consumer goes")


def test_shards_that_split_and_merge_while_it_runs_and_restarts_are_read_once(
    stream: Any, reading: MakeReading, sink: Any
) -> None:
    query_of = reading(consumerName="spark", maxRecordsPerTrigger=60)
    stream.put(100)
    query = query_of.start(sink)
    sink.wait_for(100, query)
    put_one_by_one(stream, sink, query, 2)
    stream.resize(4)
    stream.put(100)
    sink.wait_for(202, query)
    query.stop()
    stream.resize(2)
    stream.put(50)
    query = query_of.start(sink)
    sink.wait_for(252, query)
    stream.resize(1)
    stream.put(50)
    sink.wait_for(302, query)
    sink.assert_each_once_in_order(stream)
    assert max(map(len, sink.batches.values())) <= 60


def test_available_now_reads_by_subscriptions_within_its_limits(stream: Any, reading: MakeReading, sink: Any) -> None:
    stream.put(200)
    query_of = reading(consumerName="spark", maxRecordsPerTrigger=70)
    before = calls(stream, "SubscribeToShard")
    for expected in (200, 260):
        query = query_of.start(sink, availableNow=True)
        assert query.awaitTermination(60)
        assert len(sink.rows) == expected
        stream.put(60)
    assert max(map(len, sink.batches.values())) <= 70
    assert calls(stream, "SubscribeToShard") > before
    until(lambda: not consumers_of(stream), "the consumer goes")


@pytest.mark.parametrize("by", ["consumerName", "consumerARN"])
def test_a_consumer_that_was_there_before_is_used_and_stays(
    by: str, stream: Any, reading: MakeReading, sink: Any
) -> None:
    consumer = stream.client.register_stream_consumer(StreamARN=arn_of(stream), ConsumerName="theirs")["Consumer"]
    stream.put(20)
    query = reading(**{by: consumer["ConsumerARN"] if by == "consumerARN" else "theirs"}).start(sink)
    sink.wait_for(20, query)
    put_one_by_one(stream, sink, query, 3)
    query.stop()
    # One that the same name registers is gone soon after the end of its query; this one is not.
    other = reading(consumerName="ours")
    other.folder = other.folder / "other"
    assert other.start(type(sink)(), availableNow=True).awaitTermination(60)
    until(lambda: consumers_of(stream) == ["theirs"], "only theirs is left")


def test_each_of_several_streams_has_its_consumer(
    stream: Any, reading: MakeReading, sink: Any, kinesis_url: str
) -> None:
    other = Stream(kinesis_url)
    other.client.create_stream(StreamName=other.name, ShardCount=1)
    query = reading(streamName=f"{stream.name},{other.name}", consumerName="both").start(sink)
    for count in range(1, 6):
        stream.put(1)
        other.put(1)
        sink.wait_for(2 * count, query)
    assert consumers_of(stream) == consumers_of(other) == ["both"]
    query.stop()
    until(lambda: not consumers_of(stream) and not consumers_of(other), "the consumers go")


def test_a_consumer_that_a_killed_query_left_is_used_again_and_cleaned_up(
    stream: Any, reading: MakeReading, sink: Any, tmp_path: Path
) -> None:
    # What a kill leaves: the consumer, and the note that the query registered it.
    stream.client.register_stream_consumer(StreamARN=arn_of(stream), ConsumerName="spark")
    (tmp_path / "ledger" / "consumers").mkdir(parents=True)
    note = {"name": "spark", "owner": "one that was killed"}
    (tmp_path / "ledger" / "consumers" / f"{stream.name}.json").write_text(json.dumps(note))
    stream.put(5)
    before = calls(stream, "RegisterStreamConsumer")
    query = reading(consumerName="spark").start(sink)
    sink.wait_for(5, query)
    assert calls(stream, "RegisterStreamConsumer") == before
    query.stop()
    until(lambda: not consumers_of(stream), "the consumer goes")


def test_a_consumer_that_is_not_there_ends_the_query_with_the_remedy(
    stream: Any, reading: MakeReading, sink: Any
) -> None:
    missing = f"{arn_of(stream)}/consumer/nobody:1700000000"
    query = reading(consumerARN=missing).start(sink)
    with pytest.raises(PySparkException, match=r"(?s)nobody:1700000000 does not exist: register it.*consumerName"):
        query.awaitTermination(60)


def test_a_consumer_that_is_deregistered_while_it_is_used_ends_the_query_with_the_remedy(
    stream: Any, reading: MakeReading, sink: Any
) -> None:
    query = reading(consumerName="spark").start(sink)
    stream.put(5)
    sink.wait_for(5, query)
    put_one_by_one(stream, sink, query, 2)
    stream.client.deregister_stream_consumer(StreamARN=arn_of(stream), ConsumerName="spark")
    with pytest.raises(PySparkException, match=r"(?s)consumer .* is gone: somebody deregistered it.*Restart the query"):
        query.awaitTermination(60)
