"""One schedule of definitions and hostile records, in one process: every answer against the model after every step."""

import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from changes_definition import DAYS, FORMS, Definition, Shape, changed
from changes_golden import Golden, Place, Sent
from changes_records import Records
from layers import kinesis_records
from pyspark.sql import SparkSession

from tidemark.core.errors import CoverageError, DefinitionError, TableError
from tidemark.core.settings import Settings, get_settings
from tidemark.definition import Pipeline
from tidemark.lake.evolution import create_tables
from tidemark.lake.generations import deduplication_id, plan, refuse_incompatible
from tidemark.lake.maintenance.compaction import compact
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.quality import load_suite
from tidemark.serving import pin, query
from tidemark_spark.batch import reprocess as reprocessing
from tidemark_spark.batch.reconcile import reconcile
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.driver.streams import checkpoint_location, run_to_end, start_refine
from tidemark_spark.speed.fold import fold
from tidemark_spark.speed.ingest import BronzeSink

ARRIVAL = datetime(2026, 1, 6, tzinfo=UTC)
FAR = date(2026, 2, 1)


class Violation(Exception):
    """What a table or an answer holds is not what it must."""


class Cut(BaseException):
    """The process died here."""


@dataclass
class Tally:
    """What schedules did."""

    steps: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    records: int = 0

    def add(self, other: "Tally") -> None:
        self.steps += other.steps
        self.answers += other.answers
        self.records += other.records

    def __str__(self) -> str:
        steps = ", ".join(f"{count} {name}" for name, count in sorted(self.steps.items()))
        return f"{self.answers:,} answers, {self.records:,} records; {steps}"


class Attack:
    """A pipeline whose definition changes while records come that no producer should send."""

    def __init__(self, spark: SparkSession, seed: int, folder: Path, say: Callable[[str], None] = print) -> None:
        self._spark, self._folder, self._say = spark, folder, say
        folder.mkdir(parents=True)
        self._rng = random.Random(f"{seed} definitions")
        self.settings = Settings(
            lake_uri=f"{folder}/lake",
            state_uri=f"{folder}/state",
            data_docs_dir=folder / "docs",
            project_dir=folder,
            jars_dir=get_settings().jars_dir,
        )
        self.golden, self.tally = Golden(), Tally()
        holds = self._rng.choice(["object", *FORMS])
        self._tried = [Definition(holds, rollups={"daily": Shape(measures=("n", "money"))})]
        self._records = Records(seed, holds)
        self._clock = ARRIVAL
        self._sequence = 0
        self._start(self._tried[0])
        self._sink = BronzeSink(self.pipeline, self.settings, lambda: "query", clock=lambda: self._clock)

    @property
    def pipeline(self) -> Pipeline:
        return self.golden.definition.pipeline(self._folder)

    def run(self, steps: int, ends: Callable[[], bool] = lambda: False) -> None:
        """So many steps, or as many as there is time for, and the judgement of everything at the end."""
        kinds: list[Callable[[], None]] = [
            self.put, self.put, self.put, self.change, self.change, self.put_and_change, self.back, self.reprocess_some,
            self.reprocess_some, self.reprocess_all, self.overtaken, self.cut, self.lose_checkpoint, self.fold,
            self.compact, self.clock_back, self.do_what_is_planned, self.other_form,
        ]  # fmt: skip
        for number in range(steps):
            if ends():
                break
            step = self._rng.choice(kinds)
            self._say(f"{number + 1}/{steps}: {step.__name__.replace('_', ' ')}; {self.tally}")
            self.tally.steps[step.__name__] += 1
            step()
            self.check()
        self.reprocess_all()
        self.check()
        self.check_whole()

    # Steps

    def put(self) -> None:
        """A micro-batch of records, refined."""
        self._bronze(self._rng.choice([1, 5, 20, 60]))
        self._refine()

    def change(self) -> None:
        """Streams restart with another definition, which goes, or is refused with nothing changed."""
        self._start(changed(self._rng, self.golden.definition))

    def put_and_change(self) -> None:
        """Records that came under one definition are refined under the next."""
        self._bronze(20)
        self.change()

    def back(self) -> None:
        """A deployment is rolled back, or comes again."""
        before = self.golden.definition
        self._start(self._rng.choice(self._tried))
        if self.golden.definition.holds != before.holds:
            self._renumber()

    def other_form(self) -> None:
        """Streams restart with a definition that splits records in another way."""
        before = self.golden.definition
        others = [form for form in FORMS if form != before.holds]
        self._start(replace(before, holds=self._rng.choice(others)))
        self._renumber()

    def reprocess_some(self) -> None:
        """A range of dates; a refusal must have its reason, and changes nothing."""
        first, last = sorted(self._rng.sample([*DAYS, DAYS[-1] + timedelta(days=1)], 2))
        lost, twice = self.golden.moves(first, last)
        try:
            self._reprocess(first, last)
        except CoverageError as refused:
            if not lost and not twice:
                raise Violation(f"a reprocess of [{first}, {last}) was refused for no reason: {refused}") from refused
            return
        self.golden.reprocess(first, last)

    def reprocess_all(self) -> None:
        """Everything, after which all of it is as the definition in force says."""
        self._reprocess(date.min, date.max)
        self.golden.reprocess(date.min, date.max)
        if (asked := plan(self.pipeline, load_suite(self.pipeline, self.settings), self.settings)).due:
            raise Violation(f"after a reprocess of everything the plan asks for {asked.due}")
        found, broken = self._quarantine(), self.golden.broken()
        if found != broken:
            raise Violation(f"quarantine has {found - broken} too many, and lacks {broken - found}")

    def overtaken(self) -> None:
        """A reprocess waits for refine while the streams restart with another definition: it publishes nothing."""
        old, suite = self.pipeline, load_suite(self.pipeline, self.settings)
        self._bronze(5)
        waits, ended, before = threading.Event(), [], self.golden.definition
        real = reprocessing.seal_and_wait

        def waiting(*args: Any) -> Any:
            waits.set()
            return real(*args)

        def run() -> None:
            try:
                reprocess(self._spark, old, suite, self.settings, date.min, date.max, audit=False, say=self._quiet)
            except TableError as error:
                ended.append(error)
            finally:
                waits.set()

        with patch.object(reprocessing, "seal_and_wait", waiting):
            thread = threading.Thread(target=run)
            thread.start()
            waits.wait()
            self._start(changed(self._rng, self.golden.definition))
            thread.join()
        if self.golden.definition == before:  # refused, or the same
            if ended:
                raise Violation(f"a reprocess by the definition in force was refused: {ended}")
            self.golden.reprocess(date.min, date.max)
        elif not ended:
            raise Violation("a reprocess published by a definition that the streams had left")

    def cut(self) -> None:
        """A reprocess dies between two of its commits; the next one finishes the work."""
        real, left = reprocessing.publish_dates, [self._rng.choice([0, 1, 2])]

        def dying(*args: Any, **named: Any) -> Any:
            if not left[0]:
                raise Cut
            left[0] -= 1
            return real(*args, **named)

        with patch.object(reprocessing, "publish_dates", dying), suppress(Cut):
            self._reprocess(date.min, date.max)
        self.reprocess_all()

    def lose_checkpoint(self) -> None:
        """What refine remembers is gone."""
        shutil.rmtree(self._checkpoint(), ignore_errors=True)
        self.golden.lose_checkpoint()
        self.put()

    def fold(self) -> None:
        """Speed tables are folded, as if a day had passed."""
        later = lambda: datetime.now(UTC) + timedelta(days=1)  # noqa: E731
        fold(self._spark, self.pipeline, self.settings, grace=timedelta(hours=1), now=later)

    def compact(self) -> None:
        """Small files are merged."""
        compact(self.pipeline, self.settings, min_files=2)

    def clock_back(self) -> None:
        """The next driver of ingest runs on a host whose clock is hours behind."""
        self._clock -= timedelta(hours=self._rng.choice([1, 5, 30]))
        self._sink = BronzeSink(self.pipeline, self.settings, lambda: "query", clock=lambda: self._clock)
        self.put()

    def do_what_is_planned(self) -> None:
        """What the plan asks for is done, and then it asks for nothing."""
        asked = plan(self.pipeline, load_suite(self.pipeline, self.settings), self.settings)
        if asked.moves:
            self.reprocess_all()
            return
        for first, last in asked.due:
            self._reprocess(first, last)
            self.golden.reprocess(first, last)
        left = plan(self.pipeline, load_suite(self.pipeline, self.settings), self.settings)
        if left.changes or left.due:
            raise Violation(f"the plan asked for {asked.due}, which was done, and asks for {left}")

    # What steps are made of

    def _renumber(self) -> None:
        """Records come in a new form; some dates may be reprocessed, or refused; then everything is."""
        self._records.holds = self.golden.definition.holds
        self.put()
        if self._rng.random() < 0.5:
            # Until everything is reprocessed, an event may be there by its number of before: no model of that here.
            first, last = sorted(self._rng.sample([*DAYS, DAYS[-1] + timedelta(days=1)], 2))
            with suppress(CoverageError):
                self._reprocess(first, last)
        self.reprocess_all()

    def _bronze(self, count: int) -> None:
        records = self._records.draw(count)
        rows = kinesis_records(records, self._sequence, arrival=ARRIVAL)
        self._sequence += len(records)
        self._sink.write(rows, len(self.golden.log))
        order = sorted(zip(rows["shard_id"].to_pylist(), rows["sequence_number"].to_pylist(), records, strict=True))
        self.golden.log.append([Sent(sequence, data, ARRIVAL) for _, sequence, data in order])
        self.tally.records += len(records)

    def _start(self, definition: Definition) -> None:
        """Streams start with a definition, as their driver does, and refine all there is."""
        pipeline = definition.pipeline(self._folder)
        suite = load_suite(pipeline, self.settings)
        asked = plan(pipeline, suite, self.settings)
        refused = bool(self.golden.history) and self.golden.is_refused(definition)
        if asked.is_refused != refused:
            raise Violation(f"the plan says refused={asked.is_refused}, not {refused}: {asked.changes}")
        try:
            refuse_incompatible(pipeline, suite, self.settings)
            create_tables(tables_of(pipeline, self.settings), self.settings)
            self._run(pipeline)
        except (DefinitionError, TableError) as error:
            if not refused:
                raise Violation(f"{definition} was refused: {error}") from error
            self.tally.steps["refused"] += 1
            if len(self.golden.log) - 1 > self.golden.refined:
                self._refine()
            return
        if refused:
            raise Violation(f"{definition} was taken, after {self.golden.history}")
        self._say(f"generation {len(self.golden.history)}: {definition.difference(self.golden.history)}")
        self.golden.begin(definition)
        self.golden.refine()
        self._tried.append(definition)

    def _refine(self) -> None:
        self._run(self.pipeline)
        self.golden.refine()

    def _run(self, pipeline: Pipeline) -> None:
        suite = load_suite(pipeline, self.settings)
        run_to_end(self._spark, [start_refine(self._spark, pipeline, suite, self.settings, available_now=True)])

    def _reprocess(self, start: date, end: date) -> None:
        pipeline = self.pipeline
        suite = load_suite(pipeline, self.settings)
        reprocess(
            self._spark, pipeline, suite, self.settings, start, end, wait_seconds=20, audit=False, say=self._quiet
        )

    def _checkpoint(self) -> str:
        return f"{checkpoint_location(self.pipeline, 'refine', self.settings)}/{deduplication_id(self.pipeline)}"

    def _quiet(self, _: str) -> None:
        """Reprocesses tell much."""

    # Judgements

    def check(self) -> None:
        """Silver, the account and every answer; and no event is in two tables, or in none that is no copy."""
        pipeline = self.pipeline
        silver, quarantine = self._silver(), self._quarantine()
        if both := silver.keys() & quarantine.keys():
            raise Violation(f"silver and quarantine both hold {both}")
        if lost := self.golden.never_valid() - silver.keys() - quarantine.keys():
            raise Violation(f"neither silver nor quarantine holds {lost}, which no definition could take for copies")
        self._same("silver", silver, {
            event: (row.date, row.batch, row.kind, row.times["at"], row.times["sent"], row.money, row.units)
            for event, row in self.golden.silver.items()
        })  # fmt: skip
        log = self._rows("refine_log", "ingest_batch", "records", "events", "silver", "quarantined", "duplicates")
        found = {row.pop("ingest_batch"): tuple(row.values()) for row in log}
        self._same("account", found, {number: tuple(account) for number, account in self.golden.accounts.items()})
        for rollup in pipeline.rollups:
            snapshot = pin(pipeline, rollup, self.settings)
            if snapshot.position != self.golden.refined:
                raise Violation(f"{rollup.name} states position {snapshot.position}, not {self.golden.refined}")
            rows = query(snapshot).to_pylist()
            got = {
                (*(row[name] for name in rollup.by), row["window_start"]): tuple(row[name] for name in rollup.measures)
                for row in rows
            }
            if len(got) != len(rows):
                raise Violation(f"{rollup.name} answers for a window twice")
            self._same(rollup.name, got, self.golden.answer(rollup.name))
            self.tally.answers += 1

    def check_whole(self) -> None:
        """After a reprocess of everything: each event is where the definition puts it, and reconcile agrees."""
        silver, wanted = self._silver(), self.golden.first_copies()
        if silver.keys() != wanted.keys():
            raise Violation(
                f"silver lacks {wanted.keys() - silver.keys()}, and has {silver.keys() - wanted.keys()} too many"
            )
        pipeline = self.pipeline
        suite = load_suite(pipeline, self.settings)
        drift = reconcile(self._spark, pipeline, suite, self.settings, DAYS[0], FAR, say=self._quiet)
        if drift.served or drift.speed:
            raise Violation(f"reconcile finds drift: {drift}")

    def _quarantine(self) -> Counter[Place]:
        held = self._rows("quarantine", "sequence_number", "event_ordinal")
        return Counter((r["sequence_number"], -1 if r["event_ordinal"] is None else r["event_ordinal"]) for r in held)

    def _silver(self) -> dict[Any, Any]:
        names = [
            "sequence_number",
            "event_ordinal",
            "event_date",
            "ingest_batch",
            "kind",
            "at",
            "sent",
            "money",
            "units",
        ]
        rows = self._rows("silver", *names)
        found = {}
        for row in rows:
            number, ordinal, *values = row.values()
            event = (number, -1 if ordinal is None else ordinal)
            if event in found:
                raise Violation(f"silver holds {event} twice")
            found[event] = tuple(values)
        return found

    def _rows(self, table: str, *names: str) -> list[dict[str, Any]]:
        snapshot = open_table(getattr(tables_of(self.pipeline, self.settings), table), self.settings)
        rows: list[dict[str, Any]] = snapshot.to_pyarrow_dataset().to_table(list(names)).to_pylist()
        return rows

    def _same(self, what: str, got: dict[Any, Any], wanted: dict[Any, Any]) -> None:
        wrong = [key for key in {*got, *wanted} if got.get(key) != wanted.get(key)]
        if wrong:
            shown = "; ".join(f"{key}: got {got.get(key)}, wanted {wanted.get(key)}" for key in wrong[:3])
            raise Violation(f"{what}: {len(wrong)} of {len(wanted)} differ: {shown}")
