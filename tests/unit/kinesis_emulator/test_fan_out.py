"""Enhanced fan-out as boto3 sees it: botocore parses the event stream."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

import http_calls
import httpx
import pytest
from botocore.exceptions import EventStreamError
from emulator_calls import FIRST, client_of, error_of, put_all

from kinesis_emulator import running_emulator, start_emulator

HALF = 2**127


def arn_of(kinesis: Any, stream: str) -> str:
    return str(kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"])


def consumer_of(kinesis: Any, stream: str, name: str = "c") -> str:
    registered = kinesis.register_stream_consumer(StreamARN=arn_of(kinesis, stream), ConsumerName=name)["Consumer"]
    return str(registered["ConsumerARN"])


@pytest.fixture
def consumer(kinesis: Any, stream: str) -> str:
    return consumer_of(kinesis, stream)


@contextmanager
def subscribed(kinesis: Any, consumer: str, shard: str = FIRST, **position: Any) -> Iterator[Iterator[dict[str, Any]]]:
    position = position or {"Type": "TRIM_HORIZON"}
    answer = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition=position)
    events = answer["EventStream"]
    try:
        yield (event["SubscribeToShardEvent"] for event in events)
    finally:
        events.close()


def data(events: Iterator[dict[str, Any]], count: int) -> list[bytes]:
    """At least so many records, from as many events as it takes."""
    records: list[bytes] = []
    while len(records) < count:
        records += [record["Data"] for record in next(events)["Records"]]
    return records


def subscription_code(kinesis: Any, consumer: str, **position: Any) -> str:
    position = position or {"Type": "LATEST"}
    return error_of(kinesis.subscribe_to_shard, ConsumerARN=consumer, ShardId=FIRST, StartingPosition=position)


def test_records_are_pushed_as_get_records_has_them(kinesis: Any, stream: str, consumer: str) -> None:
    sequences = put_all(kinesis, stream, b"\x00\xff", b"2")
    with subscribed(kinesis, consumer) as events:
        event = next(events)
    token = kinesis.get_shard_iterator(StreamName=stream, ShardId=FIRST, ShardIteratorType="TRIM_HORIZON")
    assert event["Records"] == kinesis.get_records(ShardIterator=token["ShardIterator"])["Records"]
    assert [record["Data"] for record in event["Records"]] == [b"\x00\xff", b"2"]
    assert (event["ContinuationSequenceNumber"], event["MillisBehindLatest"]) == (sequences[-1], 0)
    assert not event.get("ChildShards")


def test_each_starting_position_starts_where_it_says(endpoint: str, kinesis: Any, stream: str) -> None:
    _, second, _ = put_all(kinesis, stream, b"1", b"2", b"3")

    def at_time(year: int) -> dict[str, Any]:
        return {"Type": "AT_TIMESTAMP", "Timestamp": datetime(year, 1, 1, tzinfo=UTC)}

    positions: list[tuple[dict[str, Any], list[bytes]]] = [
        ({"Type": "TRIM_HORIZON"}, [b"1", b"2", b"3"]),
        ({"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": second}, [b"2", b"3"]),
        ({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": second}, [b"3"]),
        (at_time(2000), [b"1", b"2", b"3"]),
        ({"Type": "LATEST"}, []),
    ]
    for n, (position, expected) in enumerate(positions):
        with subscribed(kinesis, consumer_of(kinesis, stream, f"c{n}"), **position) as events:
            assert [record["Data"] for record in next(events)["Records"]] == expected
    bad = consumer_of(kinesis, stream, "bad")
    assert subscription_code(kinesis, bad, Type="AT_SEQUENCE_NUMBER") == "InvalidArgumentException"
    assert subscription_code(kinesis, bad, Type="AT_TIMESTAMP") == "InvalidArgumentException"
    assert subscription_code(kinesis, bad, **at_time(2999)) == "InvalidArgumentException"


def test_a_put_reaches_its_subscriber_within_milliseconds(kinesis: Any, stream: str, consumer: str) -> None:
    came: SimpleQueue[float] = SimpleQueue()
    ready = threading.Event()

    def listen() -> None:
        with subscribed(client_of(kinesis.meta.endpoint_url), consumer, Type="LATEST") as events:
            for event in events:
                now = time.monotonic()
                ready.set()
                for record in event["Records"]:
                    came.put(now)
                    if record["Data"] == b"end":
                        return

    listener = threading.Thread(target=listen)
    listener.start()
    assert ready.wait(20)
    delays = []
    for _ in range(20):
        before = time.monotonic()
        put_all(kinesis, stream, b"x")
        delays.append(came.get(timeout=20) - before)
    put_all(kinesis, stream, b"end")
    listener.join(20)
    # Far below the heartbeat of 200 ms, which a reader that is not woken would wait for.
    assert sorted(delays)[len(delays) // 2] < 0.05


def test_an_idle_subscriber_hears_that_it_is_at_the_tip_and_where_to_go_on(kinesis: Any, stream: str) -> None:
    reader, second_reader = (consumer_of(kinesis, stream, name) for name in ("one", "two"))
    with subscribed(kinesis, reader, Type="LATEST") as events:
        idle = [next(events), next(events)]
    assert [(event["Records"], event["MillisBehindLatest"]) for event in idle] == [([], 0), ([], 0)]
    put_all(kinesis, stream, b"missed")
    position = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": idle[-1]["ContinuationSequenceNumber"]}
    with subscribed(kinesis, second_reader, **position) as events:
        assert data(events, 1) == [b"missed"]


def test_a_split_shard_ends_with_its_children_which_go_on(kinesis: Any, stream: str, consumer: str) -> None:
    put_all(kinesis, stream, b"before")
    with subscribed(kinesis, consumer) as events:
        assert data(events, 1) == [b"before"]
        put_all(kinesis, stream, b"tail")
        kinesis.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(HALF))
        put_all(kinesis, stream, b"low", ExplicitHashKey="0")
        put_all(kinesis, stream, b"high", ExplicitHashKey=str(HALF))
        rest = list(events)
    assert [record["Data"] for event in rest for record in event["Records"]] == [b"tail"]
    assert not any(event.get("ChildShards") for event in rest[:-1])
    assert "ContinuationSequenceNumber" not in rest[-1]
    children = rest[-1]["ChildShards"]
    assert [child["ParentShards"] for child in children] == [[FIRST], [FIRST]]
    assert [int(child["HashKeyRange"]["StartingHashKey"]) for child in children] == [0, HALF]
    for child, expected in zip(children, (b"low", b"high"), strict=True):
        with subscribed(kinesis, consumer, child["ShardId"]) as events:
            assert data(events, 1) == [expected]
    # It ended by itself, so its place is free at once, and it ends again.
    with subscribed(kinesis, consumer, Type="LATEST") as events:
        assert len(next(events)["ChildShards"]) == 2


def test_a_second_subscription_is_refused_at_first_then_takes_over(stream: str) -> None:
    arguments = ("--create-milliseconds", "0", "--takeover-seconds", "0.5")
    with running_emulator(arguments=arguments) as endpoint:
        kinesis = client_of(endpoint)
        kinesis.create_stream(StreamName=stream, ShardCount=1)
        consumer = consumer_of(kinesis, stream)
        started = time.monotonic()
        with subscribed(kinesis, consumer, Type="LATEST") as first:
            next(first)
            if time.monotonic() - started < 0.4:
                assert subscription_code(kinesis, consumer) == "ResourceInUseException"
            second = None
            while second is None:
                assert time.monotonic() - started < 20
                with suppress(kinesis.exceptions.ResourceInUseException):
                    second = kinesis.subscribe_to_shard(
                        ConsumerARN=consumer, ShardId=FIRST, StartingPosition={"Type": "LATEST"}
                    )["EventStream"]
            assert time.monotonic() - started >= 0.5
            with pytest.raises(EventStreamError, match="ResourceInUseException"):
                list(first)
            put_all(kinesis, stream, b"for the second")
            assert data((event["SubscribeToShardEvent"] for event in second), 1) == [b"for the second"]
            second.close()
            assert http_calls.get(f"{endpoint}/_control/stats").json()["calls"]["SubscribeToShard"] >= 2


def test_a_subscription_ends_after_its_time_and_can_be_renewed_at_once(stream: str) -> None:
    with running_emulator(arguments=("--create-milliseconds", "0", "--subscription-seconds", "0.3")) as endpoint:
        kinesis = client_of(endpoint)
        kinesis.create_stream(StreamName=stream, ShardCount=1)
        consumer = consumer_of(kinesis, stream)
        for _ in range(2):
            started = time.monotonic()
            with subscribed(kinesis, consumer, Type="LATEST") as events:
                assert [event["Records"] for event in events] == [[]]
            assert time.monotonic() - started >= 0.3
        assert http_calls.get(f"{endpoint}/_control/stats").json()["subscriptions"] == 0


def test_two_consumers_each_have_all_records(kinesis: Any, stream: str) -> None:
    consumers = [consumer_of(kinesis, stream, name) for name in ("one", "two")]
    with subscribed(kinesis, consumers[0]) as one, subscribed(kinesis, consumers[1]) as two:
        values = [b"%d" % n for n in range(300)]
        put_all(kinesis, stream, *values)
        assert data(one, 300) == data(two, 300) == values


def test_more_than_an_event_holds_comes_in_several_in_order(kinesis: Any, stream: str, consumer: str) -> None:
    values = [bytes([n]) * 700_000 for n in range(5)]
    for value in values:
        put_all(kinesis, stream, value)
    with subscribed(kinesis, consumer) as events:
        first = next(events)
        assert [record["Data"] for record in first["Records"]] == values[:1]
        assert first["MillisBehindLatest"] > 0
        position = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": first["ContinuationSequenceNumber"]}
        assert data(events, 4) == values[1:]
    with subscribed(kinesis, consumer_of(kinesis, stream, "other"), **position) as events:
        assert data(events, 4) == values[1:]


@pytest.mark.parametrize("how", ["deregistered", "deleted"])
def test_a_subscription_ends_with_its_consumer_and_with_its_stream(
    kinesis: Any, stream: str, consumer: str, how: str
) -> None:
    with subscribed(kinesis, consumer, Type="LATEST") as events:
        next(events)
        if how == "deregistered":
            kinesis.deregister_stream_consumer(ConsumerARN=consumer)
        else:
            kinesis.delete_stream(StreamName=stream, EnforceConsumerDeletion=True)
        with pytest.raises(EventStreamError, match="ResourceNotFoundException"):
            list(events)
    assert subscription_code(kinesis, consumer) == "ResourceNotFoundException"


def test_a_cut_subscription_breaks_in_the_middle_of_an_event(
    endpoint: str, kinesis: Any, stream: str, consumer: str
) -> None:
    put_all(kinesis, stream, b"1")
    http_calls.post(
        f"{endpoint}/_control/faults", json=[{"operation": "SubscribeToShard", "kind": "close", "calls": 1}]
    )
    body = {"ConsumerARN": consumer, "ShardId": FIRST, "StartingPosition": {"Type": "TRIM_HORIZON"}}
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        http_calls.post(endpoint, json=body, headers={"X-Amz-Target": "Kinesis_20131202.SubscribeToShard"})


def test_a_dry_run_subscribes_nobody(kinesis: Any, consumer: str) -> None:
    body = {"ConsumerARN": consumer, "ShardId": FIRST, "StartingPosition": {"Type": "LATEST"}, "DryRun": True}
    answer = http_calls.post(
        kinesis.meta.endpoint_url, json=body, headers={"X-Amz-Target": "Kinesis_20131202.SubscribeToShard"}
    )
    assert (answer.status_code, answer.json()["__type"]) == (400, "DryRunOperationException")
    with subscribed(kinesis, consumer) as events:
        next(events)


def test_subscriptions_end_when_the_emulator_does() -> None:
    process, endpoint = start_emulator(arguments=("--create-milliseconds", "0", "--heartbeat-seconds", "60"))
    kinesis = client_of(endpoint)
    kinesis.create_stream(StreamName="s", ShardCount=1)
    with subscribed(kinesis, consumer_of(kinesis, "s"), Type="LATEST") as events:
        next(events)
        process.terminate()
        assert list(events) == []
    assert process.wait(timeout=10) == 0
