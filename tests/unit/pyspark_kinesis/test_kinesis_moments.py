"""Checkpoint and ledger of different moments, and a ledger that is not shared: refused before a row is handed on."""

import copy
import shutil
from pathlib import Path

import pytest
from kinesis_engine import ARROW, DiedError, Engine, Stream, assert_each_once_in_order, drain, engine, restarted

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.errors import LedgerError, NotReadError, OptionError
from pyspark_kinesis.offsets.ledger import Ledger
from pyspark_kinesis.offsets.stores.store import LocalStore
from pyspark_kinesis.options.stream import Stream as KinesisStream
from pyspark_kinesis.reading.task import KinesisPartition, PartReader

BATCHES = 5


def set_back(query: Engine, batches: int, *, committed: bool) -> None:
    """Set the checkpoint back; what was the newest batch then is committed, or has to run again."""
    query.offsets = query.offsets[: len(query.offsets) - batches]
    query.committed = len(query.offsets) - (not committed)


def read(client: KinesisClient, folder: Path) -> tuple[Engine, Stream, list[Path]]:
    """A query that has read some batches, and what its ledger was after each."""
    stream = Stream(client, shards=2)
    query = engine(client, stream, folder / "ledger")
    kept = []
    for number in range(BATCHES):
        stream.put(10)
        assert query.trigger("none")
        kept.append(folder / f"kept-{number}")
        shutil.copytree(folder / "ledger", kept[-1])
    return query, stream, kept


def refused(query: Engine, stream: Stream, message: str) -> None:
    """The query ends with that message when it comes back, and hands nothing on."""
    before = copy.deepcopy(query.sink)
    stream.put(10)
    query.restart()
    with pytest.raises(LedgerError, match=message):
        query.trigger("none")
    assert query.sink == before


@pytest.mark.parametrize("committed", [True, False])
def test_a_ledger_that_is_lost_is_said(client: KinesisClient, tmp_path: Path, committed: bool) -> None:
    query, stream, _ = read(client, tmp_path)
    set_back(query, 0, committed=committed)
    shutil.rmtree(tmp_path / "ledger")
    refused(query, stream, "does not know batch 5 .* lost, .*older moment")


def test_the_ledger_of_a_first_batch_that_is_lost_is_said(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(10)
    query = engine(client, stream, tmp_path / "ledger")
    with pytest.raises(DiedError):
        query.trigger("sunk")
    shutil.rmtree(tmp_path / "ledger")
    refused(query, stream, "does not know batch 1")


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("batches", range(1, BATCHES))
def test_a_ledger_that_is_older_than_the_checkpoint_is_said(
    client: KinesisClient, tmp_path: Path, batches: int, committed: bool
) -> None:
    query, stream, kept = read(client, tmp_path)
    set_back(query, 0, committed=committed)
    shutil.rmtree(tmp_path / "ledger")
    kept[-1 - batches].rename(tmp_path / "ledger")
    refused(query, stream, "does not know batch 5")


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("batches", range(1, BATCHES))
def test_a_checkpoint_that_is_older_than_the_ledger_is_said(
    client: KinesisClient, tmp_path: Path, batches: int, committed: bool
) -> None:
    query, stream, _ = read(client, tmp_path)
    set_back(query, batches, committed=committed)
    refused(query, stream, r"does not know batch \d|checkpoint was set back")


@pytest.mark.parametrize("batches", range(1, BATCHES))
def test_both_of_one_moment_go_on_from_there(client: KinesisClient, tmp_path: Path, batches: int) -> None:
    query, stream, kept = read(client, tmp_path)
    set_back(query, batches, committed=True)
    query.sink = {batch: rows for batch, rows in query.sink.items() if batch < query.committed}
    shutil.rmtree(tmp_path / "ledger")
    kept[-1 - batches].rename(tmp_path / "ledger")
    query.restart()
    drain(query, stream)
    assert_each_once_in_order(query, stream)


def test_a_batch_that_was_planned_and_that_spark_never_knew_is_planned_again(
    client: KinesisClient, tmp_path: Path
) -> None:
    query, stream, _ = read(client, tmp_path)
    for _ in range(3):
        stream.put(10)
        query.restart()
        assert query.planner.latest(query.offsets[-1]) != query.offsets[-1]
    query.restart()
    drain(query, stream)
    assert_each_once_in_order(query, stream)


def test_a_note_that_a_death_left_unwritten_is_no_batch_that_was_read(client: KinesisClient, tmp_path: Path) -> None:
    # Seed 200 of the schedules: the query was stopped while the note was written.
    query, stream, _ = read(client, tmp_path)
    last = query.offsets[-1]
    folder = tmp_path / "ledger" / last["run"] / f"{last['batch'] + 1:012d}"
    folder.mkdir()
    (folder / ".planned.draft").touch()
    stream.put(10)
    query.restart()
    drain(query, stream)
    assert_each_once_in_order(query, stream)


def parts(query: Engine) -> list[KinesisPartition]:
    """The tasks of the next batch, which is Spark's now."""
    start = query.offsets[-1] if query.offsets else query.initial
    assert start is not None
    query.offsets.append(query.planner.latest(start))
    query.committed = len(query.offsets)
    return query.planner.partitions(start, query.offsets[-1])


def test_a_task_that_does_not_see_the_planner_s_ledger_hands_nothing_on(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(10)
    query = engine(client, stream, tmp_path / "driver")
    (part,) = parts(query)
    elsewhere = PartReader(client, Ledger(LocalStore(tmp_path / "executor")), query.options, ARROW, part)
    with pytest.raises(LedgerError, match="do not share"):
        next(elsewhere.read())
    assert not (tmp_path / "executor").exists()


def test_what_nobody_read_comes_with_the_next_batch_and_a_late_reader_gets_nothing(
    client: KinesisClient, tmp_path: Path
) -> None:
    stream = Stream(client, shards=2)
    stream.put(40)
    query = engine(client, stream, tmp_path, shards_per_task=1)
    first, second = parts(query)
    ledger = Ledger(LocalStore(tmp_path))
    rows = [arrow.num_rows for arrow in PartReader(client, ledger, query.options, ARROW, first).read()]
    assert query.trigger("none")
    assert sum(rows) + sum(map(len, query.sink.values())) == 40
    assert list(PartReader(client, ledger, query.options, ARROW, second).read()) == []


def test_available_now_that_nobody_reads_ends_with_what_to_do(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(10)
    query = engine(client, stream, tmp_path)
    query.planner.freeze()
    for _ in range(3):
        parts(query)
    with pytest.raises(NotReadError, match=r"foreachBatch read its DataFrame"):
        parts(query)


def test_a_batch_that_is_left_out_is_read_with_the_next(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(10)
    query = engine(client, stream, tmp_path)
    query.planner.freeze()
    parts(query)
    assert query.trigger("none")
    assert not query.trigger("none")
    assert_each_once_in_order(query, stream)


def test_a_stream_that_is_not_named_any_more_is_an_option_s_change(client: KinesisClient, tmp_path: Path) -> None:
    kept, dropped = Stream(client, shards=1), Stream(client, shards=1)
    both = (KinesisStream(kept.name), KinesisStream(dropped.name))
    kept.put(10)
    dropped.put(10)
    query = engine(client, kept, tmp_path, streams=both)
    assert query.trigger("none")
    for seam in ("none", "planned"):
        kept.put(10)
        dropped.put(10)
        if seam == "planned":
            with pytest.raises(DiedError):
                query.trigger(seam)
        with pytest.raises(OptionError, match=rf"{dropped.name}.*Name it again.*failOnDataLoss=false"):
            restarted(query, streams=both[:1]).trigger("none")
    lenient = restarted(query, streams=both[:1], fail_on_data_loss=False)
    drain(lenient, kept)
    rows = [row for batch in sorted(lenient.sink)[1:] for row in lenient.sink[batch]]
    assert sorted(data for _, _, data in rows) == sorted(kept.put_so_far[10:])


def test_a_renamed_stream_is_an_option_s_change(client: KinesisClient, tmp_path: Path) -> None:
    query, _, _ = read(client, tmp_path)
    with pytest.raises(OptionError, match="renamed"):
        restarted(query, streams=(KinesisStream(Stream(client, shards=1).name),)).trigger("none")
