"""The log never goes back: over clocks that differ, checkpoints that are restored, and power cuts at any write."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from layers import kinesis_records, make_tables, read

from tidemark.core.documents import EVENT_BYTES, Splitter
from tidemark.core.errors import TableError
from tidemark.core.settings import Settings
from tidemark.lake.files.durability import refuse_damaged
from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import INGEST_APP
from tidemark.pipelines.clickstream import clickstream
from tidemark_spark.driver.streams import resume_position
from tidemark_spark.speed.bronze_source.reader_42 import AdmissionReader
from tidemark_spark.speed.ingest import BronzeSink

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def lake(settings: Settings) -> Settings:
    make_tables(clickstream, settings)
    return settings


def sink(settings: Settings, at: datetime = NOON, checkpoint: str = "query") -> BronzeSink:
    return BronzeSink(clickstream, settings, lambda: checkpoint, clock=lambda: at)


def some(start: int, count: int = 2) -> pa.Table:
    return kinesis_records([{"event_id": str(start + n)} for n in range(count)], start=start)


def bronze(settings: Settings) -> pa.Table:
    return read(tables_of(clickstream, settings).bronze, settings).sort_by("ingest_batch")


def test_ingest_time_never_goes_back_over_hosts_whose_clocks_differ(lake: Settings) -> None:
    hours = [0, -3, -1, 2, -5]
    for number, hour in enumerate(hours):
        assert sink(lake, NOON + timedelta(hours=hour)).write(some(number * 2), number)
    beside = sink(lake, NOON - timedelta(hours=9), "beside")
    assert beside.write(some(10), 0)
    assert sink(lake, NOON + timedelta(hours=4)).write(some(12), len(hours))
    assert beside.write(some(14), 1)
    times = bronze(lake)["ingest_time"].to_pylist()
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert times[-1] == NOON + timedelta(hours=4)


def test_a_replay_is_written_once(lake: Settings) -> None:
    first = sink(lake)
    assert first.write(some(0), 0)
    assert not first.write(some(0), 0)
    assert not sink(lake).write(some(0), 0)
    assert bronze(lake).num_rows == 2


@pytest.mark.parametrize(("batch_id", "start"), [(2, 6), (1, 2), (1, 6), (0, 0)])
def test_a_checkpoint_that_is_older_than_bronze_is_told_with_what_to_do(
    lake: Settings, batch_id: int, start: int
) -> None:
    for number in range(3):
        assert sink(lake).write(some(number * 2), number)
    with pytest.raises(
        TableError, match=r"restored to an older state than bronze. Remove the folder .*/clickstream/in"
    ):
        sink(lake).write(some(start), batch_id)
    # What it says to do.
    told = orjson.loads(resume_position(clickstream, lake))
    last = max(int(number) for number in told.values()) - 10**55
    assert sink(lake, checkpoint="new").write(some(last + 1, 4), 0)
    assert sorted(bronze(lake)["sequence_number"].to_pylist()) == [str(10**55 + n) for n in range(10)]


@pytest.mark.parametrize("kept", [0.0, 0.5])
@pytest.mark.parametrize("what", ["commit", "data"])
def test_no_record_is_lost_where_a_power_cut_tears_the_newest_write(lake: Settings, what: str, kept: float) -> None:
    for number in range(3):
        assert sink(lake).write(some(number * 2), number)
    tables, root = tables_of(clickstream, lake), Path(tables_of(clickstream, lake).bronze.uri)
    commit = max((root / "_delta_log").glob("*.json"))
    [path] = [a["add"]["path"] for a in map(orjson.loads, commit.read_bytes().splitlines()) if "add" in a]
    torn = commit if what == "commit" else root / path
    content = torn.read_bytes()
    torn.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(TableError, match=f"Remove {commit.name} from .*checkpoints"):
        refuse_damaged(tables, [], lake)
    commit.unlink()
    refuse_damaged(tables, [], lake)
    last = max(int(number) for number in orjson.loads(resume_position(clickstream, lake)).values()) - 10**55
    assert last == 3
    assert sink(lake, checkpoint="new").write(some(last + 1, 6), 0)
    assert sorted(bronze(lake)["sequence_number"].to_pylist()) == [str(10**55 + n) for n in range(10)]


def test_records_of_many_small_events_are_several_ingest_batches_of_one_commit(settings: Settings) -> None:
    lines = replace(clickstream, records="lines")
    small = settings.model_copy(update={"max_bytes_per_batch": 2**20})
    make_tables(lines, small)
    made = BronzeSink(lines, small, lambda: "query", clock=lambda: NOON)
    table = tables_of(lines, small).bronze
    version = open_table(table, small).version()
    # By what they are long, all of them are a hundredth of what one micro-batch may read.
    many = kinesis_records([b"{}\n" * 2_000] * 5 + [b'{"event_id": "1"}'] * 2)
    assert made.write(many, 0)
    assert not made.write(many, 0), "a replay is told by all of its records"
    assert open_table(table, small).version() == version + 1
    assert made.write(kinesis_records([b'{"event_id": "2"}'], start=10), 1)
    rows = bronze(small)
    held = rows.group_by("ingest_batch").aggregate([("data", "count"), ("ingest_batch_bytes", "max")]).to_pylist()
    assert sorted((row["ingest_batch"], row["data_count"]) for row in held) == list(enumerate([1, 1, 2, 1, 2, 1]))
    sizes = [row["ingest_batch_bytes_max"] for row in held]
    assert max(sizes) <= 2**20 < sum(sizes)
    assert position(open_table(table, small), INGEST_APP) == max(row["ingest_batch"] for row in held)
    for shard in set(rows["shard_id"].to_pylist()):
        of_shard = rows.filter(pc.equal(rows["shard_id"], shard))
        pairs = zip(
            of_shard["ingest_batch"].to_pylist(), map(int, of_shard["sequence_number"].to_pylist()), strict=True
        )
        ordered = sorted(pairs, key=lambda pair: pair[1])
        assert ordered == sorted(ordered), "a shard's records keep their order along the log"

    asked = AdmissionReader(table.uri, {}, -1, -1, 50_000, 2**20, Splitter(["event_id"], "lines"))
    start, events = {"ingest_batch": -1}, []
    while (end := asked.latestOffset(start, asked.getDefaultReadLimit())) != start:
        [part] = asked.partitions(start, end)
        events.append(sum(batch.num_rows for batch in asked.read(part)))
        start = end
    assert max(events) <= 2**20 // EVENT_BYTES + 1
    assert sum(events) == 5 * 2_000 + 3 + len(held), "with a marker row an ingest_batch"


def test_records_that_are_one_event_each_are_one_ingest_batch(settings: Settings) -> None:
    small = settings.model_copy(update={"max_bytes_per_batch": 2**20})
    make_tables(clickstream, small)
    assert sink(small).write(kinesis_records([b" " * 300_000] * 4 + [b"{}\n" * 5_000]), 0)
    rows = bronze(small)
    assert set(rows["ingest_batch"].to_pylist()) == {0}
    assert set(rows["ingest_batch_bytes"].to_pylist()) == {4 * 300_000 + 15_000}
