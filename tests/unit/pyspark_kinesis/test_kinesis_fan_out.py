"""Subscriptions without Spark: what they push is exact, none is waited for, and consumers are cleaned up."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pyarrow as pa
import pytest
from kinesis_streams import Stream
from scripted_http import scripted_server
from waits import until

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.decoding import Page, Records, decode
from pyspark_kinesis.api.positions import SHARD_END, TRIM_HORIZON, key_of
from pyspark_kinesis.api.rate_limit import Pace
from pyspark_kinesis.errors import AccessError, ConsumerError, SubscriptionError
from pyspark_kinesis.fan_out.consumers import Consumers
from pyspark_kinesis.fan_out.subscription import Pushed, SubscribedCursor, Subscription, cut
from pyspark_kinesis.fan_out.watching import Watch
from pyspark_kinesis.offsets.ledger import Ledger
from pyspark_kinesis.offsets.stores.store import LocalStore
from pyspark_kinesis.options.stream import Options, parse
from pyspark_kinesis.reading.rows import ARROW_SCHEMA
from pyspark_kinesis.reading.task import KinesisPartition, PartReader, ShardRead

FIRST = "shardId-000000000000"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_emulator(arguments=("--create-milliseconds", "0", "--heartbeat-seconds", "0.2")) as url:
        yield url


@pytest.fixture
def stream(url: str) -> Stream:
    stream = Stream(url)
    stream.client.create_stream(StreamName=stream.name, ShardCount=1)
    return stream


def arn_of(stream: Stream) -> str:
    return str(stream.client.describe_stream_summary(StreamName=stream.name)["StreamDescriptionSummary"]["StreamARN"])


def consumer_of(stream: Stream, name: str = "c") -> str:
    answer = stream.client.register_stream_consumer(StreamARN=arn_of(stream), ConsumerName=name)
    return str(answer["Consumer"]["ConsumerARN"])


def consumers_of(stream: Stream) -> list[str]:
    return [c["ConsumerName"] for c in stream.client.list_stream_consumers(StreamARN=arn_of(stream))["Consumers"]]


def options_of(stream: Stream, folder: Path | str = "unused", **more: str) -> Options:
    required = {"streamName": stream.name, "endpointUrl": stream.url, "ledgerLocation": str(folder)}
    return parse({**required, "maxGetRecordsPerSecond": "0", **more})


def client_of(stream: Stream) -> KinesisClient:
    return KinesisClient("us-east-1", stream.url)


def key(stream: Stream) -> str:
    return key_of(stream.name, FIRST)


def subscribed_cursor(stream: Stream, consumer: str, position: str = TRIM_HORIZON) -> SubscribedCursor:
    place = (client_of(stream), options_of(stream), key(stream), position)
    return SubscribedCursor(*place, pace=Pace(0), consumer_arn=consumer)


def read_to_the_tip(cursor: SubscribedCursor, limit: int = 10_000) -> list[bytes]:
    found: list[bytes] = []
    while True:
        page = cursor.fetch(limit)
        assert len(page.records) <= limit
        found += page.records.data.to_pylist()
        if page.closed or not page.behind_ms:
            return found


def test_a_subscription_gives_what_get_records_gives(stream: Stream) -> None:
    stream.put_large(5, 700_000)
    stream.put(700)
    consumer = consumer_of(stream)
    with closing(subscribed_cursor(stream, consumer)) as cursor:
        assert read_to_the_tip(cursor, limit=100) == stream.values
        assert cursor.position == stream.records()[-1]["SequenceNumber"]
        assert (cursor.tally.calls, cursor.tally.subscriptions) == (0, 1)
        assert cursor.tally.events >= 5
        stream.put(10)
        more: list[bytes] = []
        while len(more) < 10:  # an idle event may come first
            more += read_to_the_tip(cursor)
        assert more == stream.values[-10:]
        stream.resize(2)
        while not cursor.fetch(10).closed:
            pass
        assert cursor.position == SHARD_END


def test_a_second_attempt_reads_on_by_get_records(stream: Stream) -> None:
    stream.put(50)
    consumer = consumer_of(stream)
    with closing(subscribed_cursor(stream, consumer)) as first, closing(subscribed_cursor(stream, consumer)) as second:
        first.fetch(20)
        assert read_to_the_tip(second) == stream.values
        assert (second.tally.calls, second.tally.events) == (1, 0)
        assert read_to_the_tip(first) == stream.values[20:]


def test_a_subscription_that_breaks_in_an_event_loses_nothing(stream: Stream) -> None:
    stream.put(50)
    rules = [{"operation": "SubscribeToShard", "kind": "close", "calls": 1}]
    urlopen(Request(f"{stream.url}/_control/faults", json.dumps(rules).encode(), method="POST")).close()
    with closing(subscribed_cursor(stream, consumer_of(stream))) as cursor:
        assert read_to_the_tip(cursor) == stream.values
        assert cursor.tally.subscriptions == 1


def records(*numbers: int) -> Records:
    texts = [str(n) for n in numbers]
    return Records(
        pa.array([t.encode() for t in texts], pa.binary()), pa.array(texts), pa.array(texts), np.array(numbers)
    )


def test_a_page_is_cut_so_that_its_beginning_is_neither_the_tip_nor_the_end() -> None:
    first, rest = cut(Page(records(1, 2, 3), 0, None, children=True), 2)
    assert (first.records.last, first.closed, first.behind_ms > 0) == ("2", False, True)
    assert rest is not None
    assert (rest.records.last, rest.closed, rest.behind_ms) == ("3", True, 0)
    assert cut(rest, 1) == (rest, None)
    assert [records(1, 2, 3).after_number(n).last for n in (0, 2, 3)] == ["3", "3", None]


def test_an_event_without_a_number_to_go_on_from_ends_a_shard_only_if_it_names_children() -> None:
    ended = b'{"Records":[],"MillisBehindLatest":0,"ChildShards":[{"ShardId":"s"}]}'
    assert (decode(ended).closed, decode(ended).children) == (True, True)
    torn = decode(b'{"Records":[],"MillisBehindLatest":0}')
    assert (torn.closed, torn.children) == (True, False)


def watching(stream: Stream, consumer: str, position: str = TRIM_HORIZON) -> Watch:
    client = client_of(stream)
    return Watch(client, consumer, key(stream), position, client.tally)


def pushed_values(watch: Watch, limit: int | None = None) -> list[bytes]:
    pushed = watch.pushed(limit)
    return pushed.page.records.data.to_pylist() if pushed else []


def test_a_watch_holds_what_follows_a_position_until_it_moves_on(stream: Stream) -> None:
    stream.put(30)
    watch = watching(stream, consumer_of(stream))
    until(lambda: len(pushed_values(watch)) == 30, "all is pushed")
    first = watch.pushed(10)
    assert first is not None
    assert (first.page.records.data.to_pylist(), first.page.behind_ms > 0) == (stream.values[:10], True)
    assert watch.come_to(str(first.page.records.last))
    assert pushed_values(watch) == stream.values[10:]
    # A task read further than what had come by then.
    stream.put(5)
    assert watch.come_to(stream.records()[32]["SequenceNumber"])
    until(lambda: pushed_values(watch) == stream.values[33:], "what was read is forgotten")
    assert not watch.come_to(stream.records()[3]["SequenceNumber"]), "it cannot go back"
    assert watch.come_to(stream.records()[-1]["SequenceNumber"])
    stream.resize(2)
    until(lambda: bool((seen := watch.sight()) and seen.ended and not seen.has_data), "the end is seen")
    watch.stop()


def test_a_watch_whose_room_is_full_waits_and_loses_nothing(stream: Stream) -> None:
    watch = watching(stream, consumer_of(stream))
    watch.room_bytes = 1
    stream.put_large(6, 700_000)
    found: list[bytes] = []
    until(lambda: bool((seen := watch.sight()) and seen.behind_ms > 1000), "it says that it falls behind")
    while len(found) < 6:
        until(lambda: bool(pushed_values(watch)), "more comes")
        pushed = watch.pushed(None)
        assert pushed is not None
        assert len(pushed.page.records) == 1
        found += pushed.page.records.data.to_pylist()
        watch.come_to(str(pushed.page.records.last))
    assert found == stream.values
    watch.stop()


def test_a_watch_that_another_takes_over_knows_nothing_until_it_subscribes_again() -> None:
    with running_emulator(arguments=("--create-milliseconds", "0", "--takeover-seconds", "0.1")) as url:
        stream = Stream(url)
        stream.client.create_stream(StreamName=stream.name, ShardCount=1)
        consumer = consumer_of(stream)
        watch = watching(stream, consumer)
        until(lambda: watch.sight() is not None, "it subscribes")
        other: list[Subscription] = []

        def taken_over() -> bool:
            try:
                other.append(Subscription(client_of(stream), consumer, key(stream), TRIM_HORIZON, wait_seconds=5))
            except SubscriptionError:
                return False
            return True

        until(taken_over, "it is taken over")
        until(lambda: watch.sight() is None, "it does not notice")
        stream.put(5)
        until(lambda: pushed_values(watch) == stream.values, "it does not subscribe again")
        watch.stop()
        other[0].close()


def part_of(stream: Stream, pushed: Pushed | None, consumer: str | None, limit: int | None = None) -> KinesisPartition:
    read = ShardRead(key(stream), TRIM_HORIZON, pushed=pushed, consumer=consumer)
    return KinesisPartition("run", 1, [read], max_records=limit, max_bytes=None, max_seconds=None, until=None)


def rows(stream: Stream, ledger: Ledger, part: KinesisPartition) -> list[bytes]:
    reader = PartReader(client_of(stream), ledger, options_of(stream), ARROW_SCHEMA, part)
    return [value for batch in reader.read() for value in batch.column(0).to_pylist()]


@pytest.mark.parametrize("first", ["pushed", "subscribed", "asked"])
@pytest.mark.parametrize("second", ["pushed", "subscribed", "asked"])
def test_attempts_give_the_same_rows_by_whatever_way_each_reads(
    first: str, second: str, stream: Stream, tmp_path: Path
) -> None:
    consumer, other = consumer_of(stream), consumer_of(stream, "other")
    stream.put(20)
    watch = watching(stream, other)
    until(lambda: len(pushed_values(watch)) == 20, "all is pushed")

    def part(way: str) -> KinesisPartition:
        pushed = watch.pushed(None) if way == "pushed" else None
        return part_of(stream, pushed, consumer if way == "subscribed" else None, limit=15)

    ledger = Ledger(LocalStore(tmp_path))
    before = rows(stream, ledger, part(first))
    assert before == stream.values[:15]
    stream.put(10)
    until(lambda: len(pushed_values(watch)) == 30, "all is pushed")
    assert rows(stream, ledger, part(second)) == before
    watch.stop()


def consumers(stream: Stream, folder: Path, **more: str) -> Consumers:
    return Consumers(client_of(stream), Ledger(LocalStore(folder)), options_of(stream, folder, **more))


def test_a_query_deregisters_what_it_registered_and_nothing_else(stream: Stream, tmp_path: Path) -> None:
    theirs = consumer_of(stream, "theirs")
    for more in ({"consumerName": "theirs"}, {"consumerARN": theirs}):
        used = consumers(stream, tmp_path, **more)
        assert used.arn(stream.name) == theirs
        used.close()
        assert consumers_of(stream) == ["theirs"]
    ours = consumers(stream, tmp_path, consumerName="ours")
    ours.arn(stream.name)
    assert consumers_of(stream) == ["ours", "theirs"]
    ours.close()
    assert consumers_of(stream) == ["theirs"]
    assert not list((tmp_path / "consumers").iterdir())


def test_what_a_killed_query_registered_is_used_again_and_goes_with_the_one_that_does(
    stream: Stream, tmp_path: Path
) -> None:
    killed = consumers(stream, tmp_path, consumerName="c")
    arn = killed.arn(stream.name)
    successor = consumers(stream, tmp_path, consumerName="c")
    assert successor.arn(stream.name) == arn
    killed.close()  # it lived after all, for a moment
    assert consumers_of(stream) == ["c"]
    successor.close()
    assert consumers_of(stream) == []


def test_a_consumer_of_a_former_name_goes_as_well(stream: Stream, tmp_path: Path) -> None:
    consumers(stream, tmp_path, consumerName="old").arn(stream.name)
    renamed = consumers(stream, tmp_path, consumerName="new")
    renamed.arn(stream.name)
    assert consumers_of(stream) == ["new"]
    renamed.close()
    assert consumers_of(stream) == []


def test_a_stream_with_too_many_consumers_is_an_error_with_the_remedy(stream: Stream, tmp_path: Path) -> None:
    for n in range(20):
        consumer_of(stream, f"c{n}")
    impatient = KinesisClient("us-east-1", stream.url, patience_seconds=0.5)
    ledger = Ledger(LocalStore(tmp_path))
    with pytest.raises(ConsumerError, match=r"at most 20 consumers: deregister one"):
        Consumers(impatient, ledger, options_of(stream, tmp_path, consumerName="one-more")).arn(stream.name)
    assert ledger.consumer(stream.name) is None


def test_a_consumer_is_registered_once_its_stream_is_made(tmp_path: Path) -> None:
    with running_emulator(arguments=("--create-milliseconds", "500")) as url:
        made = Stream(url)
        made.client.create_stream(StreamName=made.name, ShardCount=1)
        summary = made.client.describe_stream_summary(StreamName=made.name)["StreamDescriptionSummary"]
        assert summary["StreamStatus"] == "CREATING"
        ours = consumers(made, tmp_path, consumerName="ours")
        assert ours.arn(made.name).startswith(arn_of(made))
        ours.close()
        assert consumers_of(made) == []


def test_a_missing_permission_is_named() -> None:
    denied = (400, b'{"__type": "AccessDeniedException", "message": "no kinesis:SubscribeToShard"}')
    with scripted_server(denied) as url, pytest.raises(AccessError, match=r"SubscribeToShard on the stream and on its"):
        Subscription(KinesisClient("us-east-1", url), "arn", f"s/{FIRST}", TRIM_HORIZON, wait_seconds=5)


def test_a_shard_that_is_gone_is_not_taken_for_a_consumer_that_is(stream: Stream) -> None:
    consumer = consumer_of(stream)
    with pytest.raises(SubscriptionError):
        Subscription(client_of(stream), consumer, key_of(stream.name, "shardId-000000000099"), "1", wait_seconds=5)
    with pytest.raises(ConsumerError, match="is gone"):
        Subscription(client_of(stream), f"{consumer}9", key(stream), TRIM_HORIZON, wait_seconds=5)
