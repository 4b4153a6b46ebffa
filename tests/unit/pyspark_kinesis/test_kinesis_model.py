"""Planner and tasks under random schedules, without Spark, on the engine of ``kinesis_engine``.

Each schedule is drawn from a seed: puts, splits, merges, restarts, and deaths at every seam between the offset log, the
ledger, the sink and the commit log. At the end the sink must hold each record once, each shard's in order.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kinesis_engine import ARROW, SEAMS, DiedError, Stream, assert_each_once_in_order, drain, engine, rows_of

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.positions import key_of
from pyspark_kinesis.errors import LedgerError
from pyspark_kinesis.offsets.ledger import Entry, Ledger
from pyspark_kinesis.offsets.stores.store import LocalStore
from pyspark_kinesis.reading.task import PartReader


@pytest.mark.parametrize("seed", range(40))
def test_each_record_once_whatever_happens(seed: int, client: KinesisClient, tmp_path: Path) -> None:
    run_schedule(random.Random(seed), client, tmp_path)


@pytest.fixture(scope="module")
def pushing() -> Iterator[KinesisClient]:
    """A client of an emulator whose subscriptions are short, and soon to be had again."""
    hasty = ("--takeover-seconds", "0.05", "--subscription-seconds", "0.4", "--heartbeat-seconds", "0.1")
    with running_emulator(arguments=("--create-milliseconds", "0", *hasty)) as url:
        yield KinesisClient("us-east-1", url)


@pytest.mark.parametrize("seed", range(100, 116))
def test_each_record_once_whatever_happens_where_records_are_pushed(
    seed: int, pushing: KinesisClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    # Some are always far behind, so that tasks subscribe.
    monkeypatch.setattr("pyspark_kinesis.reading.planner.FAR_BEHIND_MS", rng.choice([0, 10_000]))
    run_schedule(rng, pushing, tmp_path, consumer_name="c")


def run_schedule(rng: random.Random, client: KinesisClient, folder: Path, **options: object) -> None:
    stream = Stream(client, shards=rng.choice([1, 2, 3]))
    limits = {"max_records": rng.choice([None, 7, 50]), "max_records_per_shard": rng.choice([None, 5])}
    query = engine(client, stream, folder, **limits, **options)
    for _ in range(25):
        action = rng.random()
        if action < 0.4:
            stream.put(rng.randint(1, 40))
        elif action < 0.55:
            stream.reshard(rng)
        elif action < 0.6:
            query.restart()
        else:
            try:
                query.trigger(rng.choice(SEAMS))
            except DiedError:
                query.restart()
    drain(query, stream)
    assert_each_once_in_order(query, stream)
    assert not query.trigger("none"), "a batch with nothing to read"
    query.die()


def test_of_two_attempts_at_once_both_give_what_the_first_recorded(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(10)
    query = engine(client, stream, tmp_path)
    start = query.initial
    assert start is not None
    (part,) = query.planner.partitions(start, query.planner.latest(start))
    rows: dict[str, list[tuple[str, str, bytes]]] = {}

    def attempt(name: str, ledger: Ledger) -> None:
        reader = PartReader(client, ledger, query.options, ARROW, part)
        rows[name] = [row for arrow in reader.read() for row in rows_of(arrow)]

    class OvertakenLedger(Ledger):
        """Between the read and the record of one attempt, records arrive, and another attempt comes first."""

        def record(self, run: str, batch: int, shard_id: str, entry: Entry) -> Entry:
            stream.put(10)
            attempt("fast", query.ledger)
            return super().record(run, batch, shard_id, entry)

    attempt("slow", OvertakenLedger(LocalStore(tmp_path)))
    assert len(rows["fast"]) == 20
    assert rows["slow"] == rows["fast"]


def test_latest_is_pinned_at_the_first_start(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=2)
    stream.put(10)
    time.sleep(0.002)  # arrivals have milliseconds
    query = engine(client, stream, tmp_path, starting_position="LATEST")
    stream.put_so_far.clear()
    query.restart()
    stream.put(10)
    query.restart()
    drain(query, stream)
    assert_each_once_in_order(query, stream)


def test_latest_of_a_second_query_over_one_ledger_is_its_own(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    first = engine(client, stream, tmp_path, starting_position="LATEST")
    assert first.trigger("none"), "the first batch pins where the shards start"
    stream.put(10)
    time.sleep(0.002)  # arrivals have milliseconds
    second = engine(client, stream, tmp_path, starting_position="LATEST")
    put = stream.put_so_far.copy()
    drain(first, stream)
    stream.put_so_far.clear()
    stream.put(10)
    drain(second, stream)
    assert_each_once_in_order(second, stream)
    assert {data for rows in first.sink.values() for _, _, data in rows} == set(put)


def test_positions_per_shard_resume_a_query_whose_checkpoint_is_lost(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=2)
    stream.put(30)
    first = engine(client, stream, tmp_path)
    drain(first, stream)
    named: dict[str, str] = {}
    for shard, number, _ in (row for rows in first.sink.values() for row in rows):
        key = key_of(stream.name, shard)
        named[key] = max(named.get(key, "0"), number, key=int)
    stream.put_so_far.clear()
    stream.resize(4)
    stream.put(30)
    # The same ledger folder: what the lost checkpoint left there must not be taken for its own.
    second = engine(client, stream, tmp_path, named=named)
    drain(second, stream)
    assert_each_once_in_order(second, stream)


def test_available_now_ends_with_what_was_there(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=2)
    stream.put(30)
    query = engine(client, stream, tmp_path, max_records=8)
    query.planner.freeze()
    before = set(stream.put_so_far)
    time.sleep(0.002)
    for _ in range(50):
        stream.put(5)
        if not query.trigger("none"):
            break
    else:
        raise AssertionError("it did not end")
    assert {data for rows in query.sink.values() for _, _, data in rows} == before
    query.restart()
    drain(query, stream)
    assert_each_once_in_order(query, stream)


def test_offsets_of_another_version_are_refused_by_their_version(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(5)
    query = engine(client, stream, tmp_path)
    drain(query, stream)
    query.offsets[-1].update(version=1, reads={}, holds={"shardId-000000000000": "7"})
    query.restart()
    with pytest.raises(LedgerError, match="offsets of version 1"):
        query.trigger("none")
