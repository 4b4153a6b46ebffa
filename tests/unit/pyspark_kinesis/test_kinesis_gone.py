"""Shards, streams and records that are gone, and lists that only seem to say so: each follows failOnDataLoss."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import http_calls
import pytest
from kinesis_engine import DiedError, Engine, Stream, assert_each_once_in_order, drain, engine, restarted
from waits import until

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.errors import DataLossError, StreamNotFoundError

FIRST = "shardId-000000000000"


@dataclass
class Service:
    """An emulator whose clock and faults a test sets."""

    url: str
    hours: float = 0.0

    def hours_pass(self, hours: float) -> None:
        self.hours += hours
        self._control("clock", {"offset_seconds": self.hours * 3600})

    def faults(self, *rules: dict[str, object]) -> None:
        self._control("faults", list(rules))

    def _control(self, what: str, body: object) -> None:
        http_calls.post(f"{self.url}/_control/{what}", json=body).raise_for_status()


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    with running_emulator(arguments=("--create-milliseconds", "0")) as url:
        yield url


@pytest.fixture
def service(running: str) -> Iterator[Service]:
    service = Service(running)
    service.hours_pass(0)
    yield service
    service.faults()


@pytest.fixture
def kinesis(service: Service) -> KinesisClient:
    return KinesisClient("us-east-1", service.url)


def split(client: KinesisClient, stream: Stream) -> None:
    wanted = {"TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}
    client.call("UpdateShardCount", {"StreamName": stream.name, **wanted})


def committed(query: Engine) -> None:
    """Records of the shard are left, and nothing is under way."""


def planned(query: Engine) -> None:
    """A batch is logged, and not read."""
    with pytest.raises(DiedError):
        query.trigger("planned")


def recorded(query: Engine) -> None:
    """A batch is read, and none of its rows is in the sink."""
    with pytest.raises(DiedError):
        query.trigger("after ledger")


def sunk(query: Engine) -> None:
    """A batch is in the sink, and not committed."""
    with pytest.raises(DiedError):
        query.trigger("sunk")


STATES = [committed, planned, recorded, sunk]


def comes_back_late(
    kinesis: KinesisClient, service: Service, folder: Path, state: Callable[[Engine], None], *, resharded: bool
) -> tuple[Engine, Stream]:
    """A query that has read 10 of 30 records, and comes back when all of them have aged out; five more are there."""
    stream = Stream(kinesis, shards=1)
    stream.put(30)
    query = engine(kinesis, stream, folder, max_records=10)
    assert query.trigger("none")
    state(query)
    if resharded:
        split(kinesis, stream)
    service.hours_pass(25)
    stream.put(5)
    kinesis.call("ListStreams", {})  # as a new process' first request, it tells the time
    listed = [shard.shard_id for shard in kinesis.shards({"StreamName": stream.name})]
    assert (FIRST not in listed) == resharded
    return query, stream


@pytest.mark.parametrize("available_now", [False, True])
@pytest.mark.parametrize("resharded", [False, True])
@pytest.mark.parametrize("state", STATES)
def test_what_aged_out_while_the_query_was_down_is_data_loss_or_a_warning(
    kinesis: KinesisClient,
    service: Service,
    tmp_path: Path,
    state: Callable[[Engine], None],
    resharded: bool,
    available_now: bool,
) -> None:
    query, stream = comes_back_late(kinesis, service, tmp_path, state, resharded=resharded)
    strict = restarted(query)
    if available_now:
        strict.planner.freeze()
    with pytest.raises(DataLossError, match="failOnDataLoss=false"):
        strict.trigger("none")
    for _ in range(2):  # it must not only work once
        lenient = restarted(strict, fail_on_data_loss=False)
        if available_now:
            lenient.planner.freeze()
        while lenient.trigger("none"):
            pass
        rows = [row for batch in sorted(lenient.sink) for row in lenient.sink[batch]]
        values = [data for _, _, data in rows]
        assert set(values) & set(stream.put_so_far[-5:]) == set(stream.put_so_far[-5:]), "what is there is read"
        assert len(values) == len(set(values)), "and once"


def delete(kinesis: KinesisClient, stream: Stream) -> None:
    kinesis.call("DeleteStream", {"StreamName": stream.name})

    def is_gone() -> bool:
        return stream.name not in kinesis.call("ListStreams", {"Limit": 1000})["StreamNames"]

    until(is_gone, "the stream is deleted")


def make_again(kinesis: KinesisClient, stream: Stream, shards: int = 1) -> None:
    kinesis.call("CreateStream", {"StreamName": stream.name, "ShardCount": shards})
    stream.put_so_far = [b"x"] * 1000  # other values than before
    stream.put(15)
    del stream.put_so_far[:1000]


@pytest.mark.parametrize("state", STATES)
def test_a_stream_that_is_made_again_is_data_loss_or_read_from_its_start(
    kinesis: KinesisClient, tmp_path: Path, state: Callable[[Engine], None]
) -> None:
    stream = Stream(kinesis, shards=1)
    stream.put(10)
    query = engine(kinesis, stream, tmp_path)
    drain(query, stream)
    stream.put(10)
    state(query)
    delete(kinesis, stream)
    make_again(kinesis, stream)
    with pytest.raises(DataLossError, match=r"made again.*failOnDataLoss=false"):
        restarted(query).trigger("none")
    before = {data for rows in query.sink.values() for _, _, data in rows}
    lenient = restarted(query, fail_on_data_loss=False)
    for _ in range(2):
        while lenient.trigger("none"):
            pass
        lenient.restart()
    rows = [data for batch in sorted(lenient.sink) for _, _, data in lenient.sink[batch] if data not in before]
    assert sorted(rows) == sorted(stream.put_so_far)


def test_a_stream_that_is_gone_is_told_from_one_that_never_was(kinesis: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(kinesis, shards=1)
    stream.put(10)
    query = engine(kinesis, stream, tmp_path)
    drain(query, stream)
    delete(kinesis, stream)
    with pytest.raises(DataLossError, match=rf"the stream {stream.name}.*is gone.*failOnDataLoss=false"):
        restarted(query).trigger("none")
    lenient = restarted(query, fail_on_data_loss=False)
    assert not lenient.trigger("none")
    with pytest.raises(StreamNotFoundError, match="create it, or correct"):
        engine(kinesis, stream, tmp_path / "other").trigger("none")
    before = len(lenient.sink)
    make_again(kinesis, stream)

    def came() -> int:
        return sum(len(rows) for batch, rows in lenient.sink.items() if batch >= before)

    def has_come() -> bool:
        lenient.trigger("none")
        return came() >= 15

    until(has_come, "the new stream is read", moves=came)
    rows = [data for batch in sorted(lenient.sink)[before:] for _, _, data in lenient.sink[batch]]
    assert sorted(rows) == sorted(stream.put_so_far)


@pytest.mark.parametrize("hidden", [[0], [1], [1, 2], [0, 1], [0, 1, 2]])
@pytest.mark.parametrize("lenient", [True, False])
def test_a_list_that_leaves_shards_out_moves_no_position(
    kinesis: KinesisClient, service: Service, tmp_path: Path, hidden: list[int], lenient: bool
) -> None:
    stream = Stream(kinesis, shards=1)
    stream.put(40)
    query = engine(
        kinesis, stream, tmp_path, max_records=10, shard_refresh_seconds=0.001, fail_on_data_loss=not lenient
    )
    assert query.trigger("none")
    split(kinesis, stream)
    stream.put(40)
    names = [f"shardId-{number:012d}" for number in hidden]
    for calls, batches in ((1, 1), (1, 2), (3, 4), (3, 20)):
        service.faults({"operation": "ListShards", "kind": "omit", "shards": names, "calls": calls})
        if batches % 2 == 0:
            query.restart()
        for _ in range(batches):
            query.trigger("none")
    service.faults()
    drain(query, stream)
    assert_each_once_in_order(query, stream)


def test_a_parent_that_the_first_list_leaves_out_is_read_before_its_children(
    kinesis: KinesisClient, service: Service, tmp_path: Path
) -> None:
    stream = Stream(kinesis, shards=1)
    stream.put(10)
    split(kinesis, stream)
    stream.put(10)
    service.faults({"operation": "ListShards", "kind": "omit", "shards": [FIRST]})
    query = engine(kinesis, stream, tmp_path, max_records=5)
    drain(query, stream)
    service.faults()
    assert_each_once_in_order(query, stream)


def test_a_shard_that_the_first_list_leaves_out_starts_where_the_query_does(
    kinesis: KinesisClient, service: Service, tmp_path: Path
) -> None:
    stream = Stream(kinesis, shards=2)
    stream.put(20)
    time.sleep(0.002)  # arrivals have milliseconds
    service.faults({"operation": "ListShards", "kind": "omit", "shards": [FIRST]})
    query = engine(kinesis, stream, tmp_path, starting_position="LATEST")
    assert query.trigger("none"), "the first batch pins where the shards start"
    service.faults()
    stream.put_so_far.clear()
    stream.put(20)
    query.restart()
    drain(query, stream)
    assert_each_once_in_order(query, stream)


@pytest.mark.parametrize("available_now", [True, False])
def test_an_empty_answer_behind_a_closed_shard_s_last_record_is_its_end(
    kinesis: KinesisClient, service: Service, tmp_path: Path, available_now: bool
) -> None:
    stream = Stream(kinesis, shards=1)
    stream.put(60)
    service.faults({"operation": "GetRecords", "kind": "unending"})
    query = engine(kinesis, stream, tmp_path, max_records=25)
    assert query.trigger("none")
    split(kinesis, stream)
    stream.put(10)
    time.sleep(0.002)  # arrivals have milliseconds
    if available_now:
        query.restart()
        query.planner.freeze()
        while query.trigger("none"):
            pass
    drain(query, stream)
    service.faults()
    assert_each_once_in_order(query, stream)


def test_an_empty_answer_that_is_not_the_tip_is_asked_again(
    kinesis: KinesisClient, service: Service, tmp_path: Path
) -> None:
    stream = Stream(kinesis, shards=2)
    stream.put(50)
    time.sleep(0.002)  # arrivals have milliseconds
    service.faults({"operation": "GetRecords", "kind": "empty", "seconds": 60, "probability": 0.7, "seed": 1})
    query = engine(kinesis, stream, tmp_path, max_records=20)
    query.planner.freeze()
    while query.trigger("none"):
        pass
    service.faults()
    assert_each_once_in_order(query, stream)
