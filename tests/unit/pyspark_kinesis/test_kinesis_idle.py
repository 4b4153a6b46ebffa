"""What is said of streams that are idle, or not there for a while: nothing is lost, told as lost, or kept for ever."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import http_calls
import pytest
from kinesis_engine import DiedError, Engine, Stream, drain, engine

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.errors import DataLossError

HOURS_OF_RETENTION = 24


@pytest.fixture
def url() -> Iterator[str]:
    with running_emulator(arguments=("--create-milliseconds", "0")) as url:
        yield url


@pytest.fixture
def client(url: str) -> KinesisClient:
    return KinesisClient("us-east-1", url)


@pytest.fixture
def clock(url: str, client: KinesisClient) -> Callable[[float], None]:
    """Sets the service's clock, hours from now, and lets the client learn of it."""

    def at(hours: float) -> None:
        http_calls.post(f"{url}/_control/clock", json={"offset_seconds": hours * 3600}).raise_for_status()
        client.call("ListStreams", {})

    return at


def rows(query: Engine) -> int:
    return sum(map(len, query.sink.values()))


def triggers(query: Engine) -> None:
    """Trigger until there is no batch any more."""
    while query.trigger("none"):
        pass


def test_short_runs_over_an_idle_stream_lose_nothing_and_say_so(
    client: KinesisClient, clock: Callable[[float], None], tmp_path: Path
) -> None:
    stream = Stream(client, 1)
    query = engine(client, stream, tmp_path)
    stream.put(5)
    for hour in range(0, HOURS_OF_RETENTION + 16, 2):
        clock(hour)
        query.restart()
        query.planner.freeze()
        triggers(query)
    assert rows(query) == 5


def test_a_reshard_while_nothing_comes_is_known_after_a_restart(
    client: KinesisClient, clock: Callable[[float], None], tmp_path: Path
) -> None:
    stream = Stream(client, 1)
    query = engine(client, stream, tmp_path)
    stream.put(5)
    drain(query, stream)
    stream.resize(2)
    for hour in range(HOURS_OF_RETENTION + 16):
        clock(hour)
        query.planner._lineage.outdate()
        assert not query.trigger("none")
    query.restart()
    query.trigger("none")
    stream.put(5)
    drain(query, stream)
    assert rows(query) == 10


def test_shards_that_opened_and_expired_unseen_are_data_loss(
    client: KinesisClient, clock: Callable[[float], None], tmp_path: Path
) -> None:
    stream = Stream(client, 1)
    stream.put(10)
    query = engine(client, stream, tmp_path, shard_refresh_seconds=1000.0)
    assert query.trigger("none")
    stream.put(10)
    stream.resize(2)
    assert query.trigger("none"), "the first shard is read to its end, by a list that does not name its children"
    query.die()
    stream.put(20)
    stream.resize(1)
    clock(HOURS_OF_RETENTION + 1)
    stream.put(5)
    query.restart()
    with pytest.raises(DataLossError):
        triggers(query)


def test_offsets_of_short_runs_forget_the_shards_that_are_gone(
    client: KinesisClient, clock: Callable[[float], None], tmp_path: Path
) -> None:
    stream = Stream(client, 1)
    query = engine(client, stream, tmp_path)
    sizes = []
    for day in range(9):
        stream.put(5)
        query.restart()
        query.planner.freeze()
        triggers(query)
        sizes.append(len(query.offsets[-1]["reads"]) + len(query.offsets[-1]["holds"]))
        stream.resize(1 + (day + 1) % 2)
        for hour in (12, 23):
            clock(day * 23 + hour)
    assert rows(query) == 45
    assert max(sizes) <= 6, "as many as are listed, and those of the day before"


def test_a_stream_that_is_not_there_for_a_while_goes_on_where_it_was(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, 1)
    stream.put(10)
    query = engine(client, stream, tmp_path, fail_on_data_loss=False, shard_refresh_seconds=0.01)
    drain(query, stream)
    with running_emulator(arguments=("--create-milliseconds", "0")) as elsewhere:
        query.client = KinesisClient("us-east-1", elsewhere)
        query.restart()
        for _ in range(3):
            assert not query.trigger("none")
    query.client = client
    query.restart()
    stream.put(10)
    drain(query, stream)
    assert rows(query) == 20


def test_a_batch_that_was_planned_before_the_stream_was_away_is_left_out_and_the_next_goes_on(
    client: KinesisClient, tmp_path: Path
) -> None:
    stream = Stream(client, 1)
    stream.put(10)
    query = engine(client, stream, tmp_path, fail_on_data_loss=False, shard_refresh_seconds=0.01)
    drain(query, stream)
    stream.put(10)
    with pytest.raises(DiedError):
        query.trigger("planned")
    with running_emulator(arguments=("--create-milliseconds", "0")) as elsewhere:
        query.client = KinesisClient("us-east-1", elsewhere)
        query.restart()
        query.trigger("none")
    query.client = client
    query.restart()
    stream.put(5)
    drain(query, stream)
    assert rows(query) == 25


def test_a_stream_that_is_made_again_between_two_lists_is_read_once(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, 1)
    stream.put(10)
    query = engine(client, stream, tmp_path, fail_on_data_loss=False, shard_refresh_seconds=30.0)
    drain(query, stream)
    client.call("DeleteStream", {"StreamName": stream.name})
    client.call("CreateStream", {"StreamName": stream.name, "ShardCount": 1})
    stream.put(5)
    for _ in range(4):
        query.trigger("none")
    query.planner._lineage._identified_at = -1e9  # half a minute passes
    query.planner._lineage.outdate()
    for _ in range(4):
        query.trigger("none")
    times = Counter(data for batch in query.sink.values() for _, _, data in batch)
    assert len(times) == 15
    assert set(times.values()) == {1}
