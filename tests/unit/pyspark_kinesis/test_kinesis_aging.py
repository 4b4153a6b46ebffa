"""What Kinesis forgot before it was read is data loss, told with its place and the remedy; nothing else is."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from kinesis_engine import DiedError, Engine, Stream, assert_each_once_in_order, drain, engine
from waits import until

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.positions import key_of
from pyspark_kinesis.errors import DataLossError


def test_a_shard_that_is_gone_with_unread_records_is_data_loss(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(5)
    query = engine(client, stream, tmp_path)
    drain(query, stream)
    last = query.offsets[-1]
    last["holds"][key_of(stream.name, "shardId-000000000099")] = "7"
    query.restart()
    with pytest.raises(DataLossError, match=r"shardId-000000000099.*failOnDataLoss=false"):
        query.trigger("none")


@pytest.fixture(scope="module")
def forgetful() -> Iterator[KinesisClient]:
    """A client of an emulator that keeps records for 24 times 0.05 s."""
    with running_emulator(arguments=("--create-milliseconds", "0", "--hour-seconds", "0.05")) as url:
        yield KinesisClient("us-east-1", url)


def wait_until_aged_out(stream: Stream, number: str) -> None:
    arguments, shard = {"StreamName": stream.name}, "shardId-000000000000"

    def aged_out() -> bool:
        return stream.client.records(stream.client.iterator(arguments, shard, "TRIM_HORIZON"), 1).records.last != number

    until(aged_out, "the oldest record ages out")


def read_and_age_out(client: KinesisClient, folder: Path, **options: object) -> tuple[Engine, Stream]:
    """A query that has read five records of which none is left."""
    stream = Stream(client, shards=1)
    stream.put(5)
    query = engine(client, stream, folder, **options)
    drain(query, stream)
    wait_until_aged_out(stream, query.sink[0][0][1])
    return query, stream


def test_what_aged_out_unread_is_data_loss_with_its_place_and_the_remedy(
    forgetful: KinesisClient, tmp_path: Path
) -> None:
    query, stream = read_and_age_out(forgetful, tmp_path)
    stream.put(5)
    # Three days pass.
    last = query.offsets[-1]
    for name in last["asOf"]:
        last["asOf"][name] -= 3 * 86_400
    for file in tmp_path.glob("*/*/*.json"):
        entry = orjson.loads(file.read_bytes())
        file.write_bytes(orjson.dumps({**entry, "as_of": entry["as_of"] - 3 * 86_400}))
    query.restart()
    with pytest.raises(DataLossError, match=rf"{stream.name}/shardId-0+, complete as of .*failOnDataLoss=false"):
        query.trigger("none")


def test_nothing_that_is_recent_enough_is_asked_for(forgetful: KinesisClient, tmp_path: Path) -> None:
    # By the time it keeps with the position nothing can have aged out, so that the record is not looked for.
    query, stream = read_and_age_out(forgetful, tmp_path)
    stream.put(5)
    query.restart()
    assert query.trigger("none")
    assert len(query.sink[1]) == 5


def test_a_named_position_that_aged_out_is_data_loss_unless_allowed(forgetful: KinesisClient, tmp_path: Path) -> None:
    query, stream = read_and_age_out(forgetful, tmp_path / "first")
    named = {key_of(stream.name, shard): number for shard, number, _ in query.sink[0]}
    with pytest.raises(DataLossError, match="of unknown age"):
        drain(engine(forgetful, stream, tmp_path / "second", named=named), stream)
    stream.put_so_far.clear()
    stream.put(3)
    lenient = engine(forgetful, stream, tmp_path / "third", named=named, fail_on_data_loss=False)
    drain(lenient, stream)
    assert_each_once_in_order(lenient, stream)


def test_a_batch_that_was_planned_but_not_read_before_its_records_aged_out_is_data_loss(
    forgetful: KinesisClient, tmp_path: Path
) -> None:
    query, stream = read_and_age_out(forgetful, tmp_path)
    stream.put(5)
    with pytest.raises(DiedError):
        query.trigger("planned")
    for name in query.offsets[-1]["asOf"]:
        query.offsets[-1]["asOf"][name] -= 3 * 86_400
    query.restart()
    with pytest.raises(DataLossError, match=r"complete as of .*failOnDataLoss=false"):
        query.trigger("none")


def test_what_ages_out_before_a_query_that_lags_is_data_loss_too(
    forgetful: KinesisClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(forgetful, shards=1)
    stream.put(20)
    query = engine(forgetful, stream, tmp_path, max_records=5)
    assert query.trigger("none")
    wait_until_aged_out(stream, query.sink[0][0][1])
    stream.put(3)
    now = KinesisClient.now
    monkeypatch.setattr(KinesisClient, "now", lambda client: now(client) + 3 * 86_400)
    with pytest.raises(DataLossError, match=r"complete as of .*failOnDataLoss=false"):
        query.trigger("none")


def three_days_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    now = KinesisClient.now
    monkeypatch.setattr(KinesisClient, "now", lambda client: now(client) + 3 * 86_400)


def test_a_pinned_latest_from_which_nothing_was_read_within_retention_is_data_loss(
    client: KinesisClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(client, shards=1)
    query = engine(client, stream, tmp_path, starting_position="LATEST")
    assert query.trigger("none"), "the first batch pins where the shards start"
    three_days_pass(monkeypatch)
    stream.put(5)
    query.restart()
    with pytest.raises(DataLossError, match=rf"{stream.name}/shardId-0+ .*longer than .*failOnDataLoss=false"):
        query.trigger("none")


def test_a_child_that_nobody_read_within_retention_is_data_loss(
    client: KinesisClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(client, shards=1)
    stream.put(5)
    query = engine(client, stream, tmp_path)
    drain(query, stream)
    stream.resize(2)
    stream.put(20)
    with pytest.raises(DiedError):
        query.trigger("planned")
    assert set(query.offsets[-1]["reads"].values()) == {"TRIM_HORIZON"}
    three_days_pass(monkeypatch)
    query.restart()
    with pytest.raises(DataLossError, match="longer than"):
        query.trigger("none")


def test_a_time_beyond_retention_may_be_where_a_query_starts(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(5)
    query = engine(client, stream, tmp_path, starting_position="@1000000000.000")
    with pytest.raises(DiedError):
        query.trigger("planned")
    query.restart()
    drain(query, stream)
    assert_each_once_in_order(query, stream)
