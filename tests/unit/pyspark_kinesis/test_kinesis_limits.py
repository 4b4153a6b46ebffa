"""Limits of a micro-batch: shared by its shards, fair over batches, stated in its offset."""

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinesis_engine import DiedError, Engine, Stream, assert_each_once_in_order, drain, engine

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.offsets.admission import Limits
from pyspark_kinesis.reading.task import records_behind

LIMIT = st.none() | st.integers(1, 100)


@pytest.fixture(scope="module")
def client(kinesis_url: str) -> KinesisClient:
    return KinesisClient("us-east-1", kinesis_url)


@given(LIMIT, LIMIT, st.integers(1, 100))
def test_the_shares_of_all_shards_stay_within_both_limits(
    records: int | None, a_shard: int | None, shards: int
) -> None:
    share, _ = Limits(records, a_shard).of_each(shards)
    if records is None and a_shard is None:
        assert share is None
    else:
        assert share is not None
        assert share >= 1
        assert a_shard is None or share <= a_shard
        # A batch never reads more shards than it may read records.
        assert records is None or shards > records or share * shards <= records


@given(LIMIT, LIMIT, LIMIT)
def test_what_an_offset_states_is_what_was_meant(records: int | None, size: int | None, a_shard: int | None) -> None:
    limits = Limits(records=records, bytes=size, bytes_per_shard=a_shard)
    assert Limits(**limits.to_json()) == limits
    assert limits.everything == (limits.to_json() == {})


def shards_of(query: Engine) -> list[str]:
    """The shard of each batch; every batch has one record."""
    return [rows[0][0] for rows in (query.sink[batch] for batch in sorted(query.sink)) if len(rows) == 1]


def test_a_limit_below_the_number_of_shards_gives_each_its_turn(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=4)
    stream.put(200)
    query = engine(client, stream, tmp_path, max_records=1)
    for _ in range(20):
        assert query.trigger("none")
    assert len(shards_of(query)) == 20
    assert set(Counter(shards_of(query)).values()) == {5}


def test_a_limit_starves_no_shard_of_a_query_that_is_restarted_after_each_batch(
    client: KinesisClient, tmp_path: Path
) -> None:
    stream = Stream(client, shards=4)
    query = engine(client, stream, tmp_path, max_records=1)
    for _ in range(30):
        stream.put(8)  # always more in each shard than is read
        time.sleep(0.002)  # arrivals have milliseconds
        assert query.trigger("none")
        query.restart()
    counts = Counter(shards_of(query))
    assert len(counts) == 4
    assert min(counts.values()) >= 4


def test_everything_is_all_that_had_arrived_also_of_shards_that_may_not_be_asked_yet(
    client: KinesisClient, tmp_path: Path
) -> None:
    stream = Stream(client, shards=2)
    stream.put(60)
    query = engine(client, stream, tmp_path, max_records=7, max_calls_per_second=5.0)
    query.limits = Limits()
    assert query.trigger("none")
    assert len(query.sink[0]) == 60
    assert_each_once_in_order(query, stream)


def test_a_replay_has_the_limits_that_the_batch_was_planned_with(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(50)
    query = engine(client, stream, tmp_path, max_records=7)
    with pytest.raises(DiedError):
        query.trigger("planned")
    query = Engine(client, engine(client, stream, tmp_path, max_records=20).options, query.offsets)
    assert query.trigger("none")
    assert len(query.sink[0]) == 7
    drain(query, stream)
    assert_each_once_in_order(query, stream)


def test_records_behind_are_estimated_from_the_rate_since_the_batch_before() -> None:
    assert records_behind(10_000, count=50, since_ms=0, last_ms=1_000) == 500
    assert records_behind(0, count=50, since_ms=0, last_ms=1_000) == 0
    # Two records of one millisecond say nothing of a rate beyond what a shard takes.
    assert records_behind(10_000, count=2, since_ms=7, last_ms=7) == 10_000
    assert records_behind(10_000, count=0, since_ms=0, last_ms=0) == 0


def test_bytes_are_those_of_the_data(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(20)
    query = engine(client, stream, tmp_path)
    drain(query, stream)
    query.trigger("none")
    assert [shard["bytes"] for shard in query.planner.report().values()] == [sum(map(len, stream.put_so_far))]
