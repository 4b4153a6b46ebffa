"""One pipeline from Kinesis to the analyst, every invariant of the design checked while all runs at once."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from layers import expected_activity, golden, read

from kinesis_emulator import running_emulator
from tidemark.core.processes import Child, cpu_seconds
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import submit_command, submit_environment
from tidemark.core.spark_start.jars import ensure_jars
from tidemark.core.waiting import wait_for
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import INGEST_APP, REFINE_APP
from tidemark.pipelines.clickstream import clickstream
from tidemark.pipelines.producers.clickstream import events
from tidemark.pipelines.producers.producer import ensure_stream, kinesis_client, produce
from tidemark.serving import pin, query

ROLLUP = clickstream.rollup("activity")
START = datetime(2026, 1, 1, tzinfo=UTC)
RECORDS = 6_000


@dataclass
class Stage:
    """A running platform: its settings, a folder for logs, and the jobs that were started."""

    settings: Settings
    folder: Path
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, job: str, *arguments: str) -> Child:
        command = submit_command(job, ["--pipeline", "clickstream", *arguments], self.settings)
        child = Child(name, command, self.folder / f"{name}.log", submit_environment(self.settings))
        self.children.append(child)
        return child


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with running_emulator() as endpoint:
        settings = Settings(
            lake_uri=str(tmp_path / "lake"), state_uri=str(tmp_path / "state"), kinesis_endpoint_url=endpoint
        )
        ensure_jars(settings, print)
        create_tables(tables_of(clickstream, settings), settings)
        ensure_stream(kinesis_client(settings), clickstream)
        made = Stage(settings, tmp_path)
        yield made
        for child in made.children:
            child.stop(grace_seconds=5)


def refined_through(settings: Settings) -> int:
    return min(position(open_table(t, settings), REFINE_APP) for t in tables_of(clickstream, settings).refined)


def await_refined(stage: Stage, driver: Child, records: int) -> None:
    """Wait until all records are in bronze and refine has passed them."""
    tables = tables_of(clickstream, stage.settings)

    def rows() -> int:
        bronze = open_table(tables.bronze, stage.settings)
        return int(pc.sum(pa.table(bronze.get_add_actions(flatten=True))["num_records"]).as_py() or 0)

    def done() -> bool:
        head = position(open_table(tables.bronze, stage.settings), INGEST_APP)
        return rows() >= records and refined_through(stage.settings) >= head

    def moves() -> tuple[object, ...]:
        return rows(), refined_through(stage.settings), driver.log.stat().st_size

    wait_for(done, f"{records} records are refined", depends_on=[driver], moves=moves)


class Reader(threading.Thread):
    """Asks the serving view over and over, and keeps every answer with its position."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self.settings = settings
        self.answers: list[tuple[int, dict[Any, Any]]] = []
        self.failure: BaseException | None = None
        self._end = threading.Event()

    def run(self) -> None:
        try:
            # Without a pause it takes a core from the streams that it watches.
            while not self._end.wait(0.1):
                snapshot = pin(clickstream, ROLLUP, self.settings)
                rows = query(snapshot).to_pylist()
                served = {(r["event"], r["window_start"]): (r["events"], r["revenue"]) for r in rows}
                self.answers.append((snapshot.position, served))
        except BaseException as error:
            self.failure = error

    def finish(self) -> list[tuple[int, dict[Any, Any]]]:
        self._end.set()
        self.join(timeout=60)
        if self.failure:
            raise self.failure
        return self.answers


def test_every_answer_is_that_of_a_prefix_while_streams_a_kill_and_a_reprocess_run(stage: Stage) -> None:
    settings = stage.settings
    tables = tables_of(clickstream, settings)
    client = kinesis_client(settings)
    source = list(events(RECORDS, seed=11, start=START, per_second=0.1, duplicates=0.05, broken=0.02))
    reader = Reader(settings)
    reader.start()

    driver = stage.start("streams-1", "stream")
    produce(client, clickstream, source[:2000], records_per_second=1000)
    await_refined(stage, driver, 2000)
    # Killed in full flight: what it had begun is finished by its successor, once.
    produce(client, clickstream, source[2000:3000])
    driver.stop(grace_seconds=0)
    driver = stage.start("streams-2", "stream")
    await_refined(stage, driver, 3000)

    producer = threading.Thread(
        target=produce, args=(client, clickstream, source[3000:]), kwargs={"records_per_second": 100}, daemon=True
    )
    producer.start()
    dates = (START.date() - timedelta(days=3), START.date() + timedelta(days=1))
    batch = stage.start("reprocess", "reprocess", "--from", str(dates[0]), "--to", str(dates[1]))
    ended = wait_for(
        lambda: str(batch.process.poll() or "0") if batch.process.poll() is not None else "", "the reprocess ends",
        depends_on=[driver], moves=lambda: (batch.log.stat().st_size, cpu_seconds([batch.process.pid]) // 5),
    )  # fmt: skip
    assert ended == "0", batch.log.read_text()[-3000:]
    producer.join(timeout=120)
    await_refined(stage, driver, RECORDS)
    answers = reader.finish()

    bronze = read(tables.bronze, settings)
    positions = list(zip(bronze["shard_id"].to_pylist(), bronze["sequence_number"].to_pylist(), strict=True))
    assert len(positions) == len(set(positions)) == RECORDS, "1: bronze holds each record once"
    kept, broken, duplicates = golden(bronze)
    silver = read(tables.silver, settings)
    assert sorted(silver["event_id"].to_pylist()) == sorted(kept), "1: silver holds each key once"

    golden_at: dict[int, Any] = {}
    assert answers
    last = -1
    for at, served in answers:
        if at not in golden_at:
            golden_at[at] = expected_activity(golden(bronze.filter(pc.less_equal(bronze["ingest_batch"], at)))[0])
        assert served == golden_at[at], f"2: the answer at position {at} is not that of a prefix of the log"
        assert at >= last, "2: answers never go back"
        last = at
    assert len(golden_at) > 3, "answers were read at several positions"

    by_batch = query(pin(clickstream, ROLLUP, settings), layer="batch").to_pylist()
    assert by_batch, "3: the batch layer answers for what was reprocessed"
    log = read(tables.refine_log, settings)
    assert pc.sum(log["records"]).as_py() == RECORDS
    assert pc.sum(log["quarantined"]).as_py() == broken == read(tables.quarantine, settings).num_rows
    assert pc.sum(log["duplicates"]).as_py() == duplicates, "4: records in = silver + quarantine + duplicates"
    assert sorted(log["ingest_batch"].to_pylist()) == sorted(set(bronze["ingest_batch"].to_pylist()))
    assert date(2026, 1, 1) in set(silver["event_date"].to_pylist())
