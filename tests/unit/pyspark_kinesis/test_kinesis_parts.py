"""Positions, KPL aggregates, pacing and the ledger, each alone."""

import hashlib
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyspark_kinesis.api import kpl
from pyspark_kinesis.api.positions import SHARD_END, Shard, advance, named_but_unread, readable
from pyspark_kinesis.api.rate_limit import Pace
from pyspark_kinesis.errors import LedgerError, OptionError
from pyspark_kinesis.offsets.ledger import Entry, Ledger
from pyspark_kinesis.offsets.stores.store import LocalStore, open_store


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def aggregate(records: list[tuple[str, bytes]]) -> bytes:
    """An aggregate as the KPL writes it, with explicit hash keys and tags that a reader skips."""
    keys = sorted({key for key, _ in records})
    message = b"".join(field(1, key.encode()) for key in keys) + field(2, b"123")
    for key, data in records:
        message += field(3, field(1, keys.index(key)) + field(2, 0) + field(3, data) + field(4, field(1, b"tag")))
    return kpl.MAGIC + message + hashlib.md5(message).digest()


@given(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=300)), max_size=5))
def test_an_aggregate_splits_into_what_went_in(records: list[tuple[str, bytes]]) -> None:
    assert kpl.split(aggregate(records)) == records


@pytest.mark.parametrize(("count", "splits"), [(kpl.MAX_RECORDS, True), (kpl.MAX_RECORDS + 1, False)])
def test_an_aggregate_of_too_many_records_is_handed_on_as_it_is(count: int, splits: bool) -> None:
    message = field(3, b"") * count
    assert (kpl.split(kpl.MAGIC + message + hashlib.md5(message).digest()) is not None) is splits


@given(st.binary(max_size=60))
def test_bytes_that_only_look_like_an_aggregate_are_left_alone(data: bytes) -> None:
    assert kpl.split(data) is None
    assert kpl.split(kpl.MAGIC + data) is None
    kpl.split(kpl.MAGIC + data + hashlib.md5(data).digest())  # malformed inside: no exception


def test_children_wait_for_all_parents_that_are_known() -> None:
    shards = [Shard("a"), Shard("b"), Shard("ab", ("a", "b")), Shard("c", ("gone",))]
    positions = {"a": "1", "b": SHARD_END, "ab": "TRIM_HORIZON", "c": "TRIM_HORIZON"}
    assert readable(shards, positions) == ["a", "c"]
    assert readable(shards, {**positions, "a": SHARD_END}) == ["ab", "c"]


def test_drained_shards_are_remembered_and_unfinished_ones_are_missed_once() -> None:
    positions, lost = advance([Shard("a"), Shard("b", ("a",))], {"a": SHARD_END, "old": SHARD_END, "gone": "7"})
    # A list may leave out what the next one names again: neither is to be read from its start then.
    assert positions == {"a": SHARD_END, "b": "TRIM_HORIZON", "old": SHARD_END, "gone": SHARD_END}
    assert lost == ["gone"]
    assert advance([Shard(name) for name in positions], positions) == (positions, [])


def test_a_shard_that_a_list_names_late_starts_where_its_stream_does() -> None:
    shards = [Shard("s/a"), Shard("t/a")]
    assert advance(shards, {}, {"s": "@5.000"}) == ({"s/a": "@5.000", "t/a": "TRIM_HORIZON"}, [])


def test_a_named_shard_that_vanished_was_drained_if_its_children_are_named() -> None:
    shards = [Shard("c", ("p",)), Shard("d", ("p",))]
    assert named_but_unread(shards, {"p": "1", "c": "2", "d": "3"}) == []
    assert named_but_unread(shards, {"p": "1", "c": "2"}) == ["p"]
    assert named_but_unread(shards, {"long-gone": "1"}) == []


def test_no_second_holds_more_calls_than_allowed() -> None:
    now = 100.0
    pace = Pace(5, history=[99.5, 99.6], clock=lambda: now)
    times = []
    for _ in range(40):
        now += pace.wait_seconds()
        pace.note()
        times.append(now)
        now += 0.01
    for start in times:
        assert sum(start <= time < start + 0.999 for time in times) <= 5


def test_an_entry_is_written_once_and_the_first_one_holds(tmp_path: Path) -> None:
    ledger = Ledger(LocalStore(tmp_path))
    entries = [Entry(start="1", end=str(n), records=n, last=str(n)) for n in range(8)]
    barrier, answers = threading.Barrier(8), []

    def write(entry: Entry) -> None:
        barrier.wait()
        answers.append(ledger.record("run", 1, "shard", entry))

    threads = [threading.Thread(target=write, args=(entry,)) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(repr, answers))) == 1
    assert ledger.entry("run", 1, "shard") == answers[0]
    assert [path.name for path in (tmp_path / "run" / "000000000001").iterdir()] == ["shard.json"]


def test_committed_batches_are_forgotten_but_for_the_last(tmp_path: Path) -> None:
    ledger = Ledger(open_store(tmp_path.as_uri()))
    assert ledger.pin_start(5.0) == ledger.pin_start(6.0) == 5.0
    for batch in range(1, 4):
        ledger.record("run", batch, "s", Entry(start="1", end="2", records=1, last="2"))
    ledger.forget_before("run", 3)
    assert list(ledger.entries("run", 3, ["s"])) == ["s"]
    assert ledger.entry("run", 2, "s") is None
    assert ledger.pin_start(7.0) == 7.0


def test_what_is_wrong_with_a_ledger_is_said(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"gs:// is not supported. .* s3://bucket/prefix"):
        open_store("gs://bucket/ledger")
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be written"):
        Ledger(LocalStore(tmp_path / "file")).record("run", 1, "s", Entry(start="1", end="1", records=0, last=None))
    (tmp_path / "run" / "000000000001").mkdir(parents=True)
    (tmp_path / "run" / "000000000001" / "s.json").write_text("{")
    with pytest.raises(LedgerError, match="cannot be read"):
        Ledger(LocalStore(tmp_path)).entry("run", 1, "s")
