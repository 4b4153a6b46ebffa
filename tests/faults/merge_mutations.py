"""Ways to break the product on purpose, to show that the checker finds out: each breaks one promise of the design.

A mutation replaces a function of the product in the process that it is meant for; the product knows nothing of it.
"""

import random
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

MUTATIONS: dict[str, Callable[[], None]] = {}
FOLD = "tidemark_spark.speed.fold"


def mutate(name: str | None) -> None:
    """Break this process's product as a mutation says; None breaks nothing."""
    if name:
        MUTATIONS[name]()


def mutation(function: Callable[[], None]) -> Callable[[], None]:
    MUTATIONS[function.__name__.replace("_", "-")] = function
    return function


def replace(module: str, path: str, make: Callable[[Any], Any]) -> None:
    """Put ``make(original)`` in an attribute's place, which must exist, or the mutation would break nothing."""
    owner = import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, make(getattr(owner, name)))


def on_batch_rows(change: Callable[[Any], Any]) -> None:
    """Change the rows that a reprocess stages for a batch table, a data frame of Spark's."""

    def make(stage: Any) -> Any:
        def changed(rows: Any, table: Any, settings: Any) -> Any:
            return stage(change(rows) if "covered_segment" in rows.columns else rows, table, settings)

        return changed

    replace("tidemark_spark.batch.slice", "stage", make)


@mutation
def speed_first() -> None:
    """Serving pins the speed table before the batch table."""

    def make(_: Any) -> Any:
        view = import_module("tidemark.serving.view")

        def pin(pipeline: Any, rollup: Any, settings: Any) -> Any:
            tables = view.tables_of(pipeline, settings)
            speed = view.open_table(tables.speed[rollup.name], settings)
            batch = view.open_table(tables.batch[rollup.name], settings)
            return view.Snapshot(pipeline=pipeline, rollup=rollup, batch=batch, speed=speed)

        return pin

    replace("tidemark.serving.view", "pin", make)


@mutation
def no_wait() -> None:
    """A reprocess seals, but does not wait for refine to pass the sealed segment."""

    def make(_: Any) -> Any:
        seal = import_module("tidemark.lake.log").seal
        return lambda tables, settings, *_, **__: seal(tables, settings)

    replace("tidemark_spark.batch.reprocess", "seal_and_wait", make)


@mutation
def open_segment() -> None:
    """A reprocess replaces the open segment too."""

    def make(publish: Any) -> Any:
        def changed(table: Any, staged: Any, days: Any, segment: int, *more: Any, **named: Any) -> Any:
            return publish(table, staged, days, segment + 1, *more, **named)

        return changed

    replace("tidemark_spark.batch.reprocess", "publish_dates", make)


@mutation
def no_positions() -> None:
    """Positions are not compared on a replay: what a crash left committed is appended again."""

    def make(position: Any) -> Any:
        replayed = ("tidemark/refine", "tidemark/ingest/")
        return lambda snapshot, app: -1 if app.startswith(replayed) else position(snapshot, app)

    replace("tidemark.lake.commits", "position", make)


@mutation
def no_rebuild() -> None:
    """After a lost checkpoint, refine goes on at its position and does not rebuild the state of its deduplication."""

    def make(_: Any) -> Any:
        refine = import_module("tidemark_spark.speed.refine")
        return lambda pipeline, settings: min(
            refine.IdempotentWriter(table, settings).position()
            for table in refine.tables_of(pipeline, settings).refined
        )

    replace("tidemark_spark.speed.refine", "starting_position", make)


@mutation
def trim_horizon() -> None:
    """After a lost checkpoint, ingest starts at the oldest record instead of where bronze ends."""
    replace("tidemark_spark.driver.streams", "resume_position", lambda _: lambda *_, **__: "TRIM_HORIZON")


@mutation
def event_watermark() -> None:
    """Refine drops what is more than a day older than the newest event, as a watermark on event time does."""

    def make(call: Any) -> Any:
        from pyspark.sql import functions as F

        newest: list[Any] = []

        def changed(self: Any, batch: Any, batch_id: int) -> None:
            batch = batch.persist()
            limit = newest[-1] - timedelta(days=1) if newest else None
            found = batch.where("_records IS NULL AND size(reasons) = 0").agg(F.max("event_time")).first()[0]
            if found:
                newest.append(max([found, *newest]))
            in_time = F.col("_dated") | F.col("_records").isNotNull() | (F.size("reasons") > 0)
            in_time = in_time | (F.col("event_time") >= F.lit(limit))
            call(self, batch if limit is None else batch.where(in_time), batch_id)

        return changed

    replace("tidemark_spark.speed.refine", "RefineSink.__call__", make)


@mutation
def coverage_low() -> None:
    """The batch table states one segment less than it covers."""
    on_batch_rows(lambda rows: rows.withColumn("covered_segment", rows["covered_segment"] - 1))


@mutation
def no_marker() -> None:
    """The batch table has no rows that state the coverage of a date whose rows all vanished."""
    on_batch_rows(lambda rows: rows.where("pane_start IS NOT NULL"))


@mutation
def two_commits() -> None:
    """A reprocess publishes by removing and adding, one commit each."""

    def make(commit: Any) -> Any:
        def changed(snapshot: DeltaTable, table: Any, actions: list[Any], versions: Mapping[str, int]) -> None:
            removed = [action for action in actions if isinstance(action, RemoveAction)]
            if "covered_segment" in table.schema.names and 0 < len(removed) < len(actions):
                commit(snapshot, table, removed, {})
                time.sleep(0.05)  # a commit takes as long on an object store
                snapshot.update_incremental()
                actions = [action for action in actions if action not in removed]
            commit(snapshot, table, actions, versions)

        return changed

    replace("tidemark.lake.publish", "_commit", make)


@mutation
def sealed_late() -> None:
    """Ingest now and then puts rows into a segment that is sealed already."""

    def make(stamped: Any) -> Any:
        rng = random.Random(0)

        def changed(self: Any, records: pa.Table, snapshot: DeltaTable) -> tuple[pa.Table, Mapping[str, int]]:
            rows, versions = stamped(self, records, snapshot)
            if rng.random() < 0.3:
                at = rows.column_names.index("segment")
                late = pc.max_element_wise(pc.subtract(rows["segment"], 1), 0)
                rows = rows.set_column(at, rows.schema.field(at), late)
            return rows, versions

        return changed

    replace("tidemark_spark.speed.ingest", "BronzeSink._stamped", make)


@mutation
def no_deduplication() -> None:
    """A reprocess does not deduplicate."""
    replace("tidemark_spark.batch.slice", "deduplicate", lambda _: lambda valid, *_, **__: valid)


@mutation
def quarantine_lost() -> None:
    """Refine loses the records that it quarantines."""

    def make(append: Any) -> Any:
        def changed(self: Any, rows: pa.Table, new_position: int) -> bool:
            lost = self.table.name == "quarantine"
            done: bool = append(self, rows.slice(0, 0) if lost else rows, new_position)
            return done

        return changed

    replace("tidemark.lake.commits", "IdempotentWriter.append", make)


@mutation
def fold_without_grace() -> None:
    """Folding removes what the batch has just come to cover, under the eyes of those who read."""
    replace(FOLD, "fold", lambda fold: lambda *given, **named: fold(*given, **{**named, "grace": timedelta(0)}))
