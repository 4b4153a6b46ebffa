"""Planner and tasks under random schedules, without Spark: an engine that keeps the logs that Spark keeps, and dies.

Each schedule is drawn from a seed: puts, splits, merges, restarts, and deaths at every seam between the offset log, the
ledger, the sink and the commit log. At the end the sink must hold each record once, each shard's in order.
"""

import base64
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from pyspark.sql.pandas.types import to_arrow_schema

from kinesis_emulator import running_emulator
from pyspark_kinesis.client import KinesisClient
from pyspark_kinesis.errors import DataLossError, LedgerError
from pyspark_kinesis.ledger import Entry, Ledger
from pyspark_kinesis.limits import Limits
from pyspark_kinesis.options import Options
from pyspark_kinesis.options import Stream as KinesisStream
from pyspark_kinesis.planner import Offset, Planner
from pyspark_kinesis.positions import key_of
from pyspark_kinesis.reading import PartReader
from pyspark_kinesis.rows import SCHEMA
from pyspark_kinesis.stores import LocalStore

ARROW = to_arrow_schema(SCHEMA, timezone="UTC")
SEAMS = ("none", "planned", "before ledger", "after ledger", "emitted", "sunk", "committed")


class DiedError(Exception):
    """The driver or a worker was killed."""


class DyingLedger(Ledger):
    """Dies before or after it records an entry."""

    seam = "none"

    def record(self, run: str, batch: int, shard_id: str, entry: Entry) -> Entry:
        if self.seam == "before ledger":
            raise DiedError
        recorded = super().record(run, batch, shard_id, entry)
        if self.seam == "after ledger":
            raise DiedError
        return recorded


class Engine:
    """What Spark does with a source, and what of it outlives a death: offset log, commit log and an idempotent sink."""

    def __init__(self, client: KinesisClient, options: Options, offsets: list[Offset] | None = None) -> None:
        self.client, self.options = client, options
        self.offsets = offsets or []
        self.limits: Limits | None = None
        self.committed = 0
        self.sink: dict[int, list[tuple[str, str, bytes]]] = {}
        self.restart()

    def die(self) -> None:
        """What the death of the planner process ends: its subscriptions."""
        if self.planner.fan_out is not None:
            self.planner.fan_out.stop()

    def restart(self) -> None:
        if hasattr(self, "planner"):
            self.die()
        self.ledger = DyingLedger(LocalStore(Path(self.options.ledger_location)))
        self.planner = Planner(self.client, self.ledger, self.options)
        self.initial = None if self.offsets else self.planner.initial()

    def trigger(self, seam: str) -> bool:
        """One trigger, dying at a seam; True if there was a batch."""
        self.ledger.seam = seam
        if len(self.offsets) == self.committed:
            start = self.offsets[-1] if self.offsets else self.initial
            assert start is not None
            end = self.planner.latest(start, self.limits)
            if end == start:
                return False
            self.offsets.append(end)
            if seam == "planned":
                raise DiedError
        batch = len(self.offsets) - 1
        start = self.offsets[batch - 1] if batch else {"version": 2, "run": "", "batch": 0, "reads": {}, "holds": {}}
        if batch:
            self.planner.commit(self.offsets[batch - 1])
        rows: list[tuple[str, str, bytes]] = []
        for part in self.planner.partitions(start, self.offsets[batch]):
            # The sub-sequence number tells nothing here: no aggregates are put.
            for arrow in PartReader(self.client, self.ledger, self.options, ARROW, part).read():
                assert arrow.schema == ARROW
                rows += rows_of(arrow)
        if seam == "emitted":
            raise DiedError
        if batch in self.sink:
            assert sorted(self.sink[batch]) == sorted(rows), "a replay gave other rows"
        self.sink[batch] = rows
        if seam == "sunk":
            raise DiedError
        self.committed += 1
        if seam == "committed":
            raise DiedError
        return True


def rows_of(arrow: pa.RecordBatch) -> list[tuple[str, str, bytes]]:
    return list(zip(*(arrow.column(name).to_pylist() for name in ("shardId", "sequenceNumber", "data")), strict=True))


class Stream:
    """A stream of the emulator, with what was put into it."""

    def __init__(self, client: KinesisClient, shards: int) -> None:
        self.client = client
        self.name = uuid.uuid4().hex
        self.put_so_far: list[bytes] = []
        client.call("CreateStream", {"StreamName": self.name, "ShardCount": shards})

    def put(self, number: int) -> None:
        values = [f"{len(self.put_so_far) + n}".encode() for n in range(number)]
        records = [{"Data": base64.b64encode(value).decode(), "PartitionKey": value.decode()} for value in values]
        self.client.call("PutRecords", {"StreamName": self.name, "Records": records})
        self.put_so_far += values

    def reshard(self, rng: random.Random) -> None:
        target = rng.choice([1, 2, 3, 4])
        answer = self.client.call("DescribeStreamSummary", {"StreamName": self.name})
        now = answer["StreamDescriptionSummary"]["OpenShardCount"]
        if now <= target * 2 and target <= now * 2:
            self.client.call("UpdateShardCount", {"StreamName": self.name, "TargetShardCount": target})


@pytest.fixture(scope="module")
def client(kinesis_url: str) -> KinesisClient:
    return KinesisClient("us-east-1", kinesis_url)


def engine(client: KinesisClient, stream: Stream, folder: Path, **options: object) -> Engine:
    fixed = {"streams": (KinesisStream(stream.name),), "region": "us-east-1", "endpoint_url": None}
    merged = {"max_calls_per_second": 0.0, "shard_refresh_seconds": 0.05, **options}
    return Engine(client, Options(**fixed, ledger_location=str(folder), **merged))  # type: ignore[arg-type]


def drain(engine: Engine, stream: Stream) -> None:
    deadline = time.monotonic() + 20
    while sum(map(len, engine.sink.values())) < len(stream.put_so_far):
        engine.trigger("none")
        assert time.monotonic() < deadline, "records are missing"


def assert_each_once_in_order(engine: Engine, stream: Stream) -> None:
    rows = [row for batch in sorted(engine.sink) for row in engine.sink[batch]]
    assert Counter(data for _, _, data in rows) == Counter(stream.put_so_far)
    last: dict[str, int] = {}
    for shard, number, _ in rows:
        assert last.get(shard, 0) < int(number), "out of order in a shard"
        last[shard] = int(number)
    last_batch = {shard: batch for batch in sorted(engine.sink) for shard, _, _ in engine.sink[batch]}
    for shard in engine.client.shards({"StreamName": stream.name}):
        first = min(
            (b for b, batch in engine.sink.items() if any(row[0] == shard.shard_id for row in batch)), default=None
        )
        if first is not None:
            assert all(last_batch.get(parent, -1) < first for parent in shard.parents), (
                "a child before its parent's end"
            )


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
    monkeypatch.setattr("pyspark_kinesis.planner.FAR_BEHIND_MS", rng.choice([0, 10_000]))
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
    client.call("UpdateShardCount", {"StreamName": stream.name, "TargetShardCount": 4})
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
    deadline = time.monotonic() + 20
    arguments, shard = {"StreamName": stream.name}, "shardId-000000000000"
    while stream.client.records(stream.client.iterator(arguments, shard, "TRIM_HORIZON"), 1).records.last == number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


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


def test_offsets_of_another_version_are_refused_by_their_version(client: KinesisClient, tmp_path: Path) -> None:
    stream = Stream(client, shards=1)
    stream.put(5)
    query = engine(client, stream, tmp_path)
    drain(query, stream)
    query.offsets[-1].update(version=1, reads={}, holds={"shardId-000000000000": "7"})
    query.restart()
    with pytest.raises(LedgerError, match="offsets of version 1"):
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
    client.call("UpdateShardCount", {"StreamName": stream.name, "TargetShardCount": 2})
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
