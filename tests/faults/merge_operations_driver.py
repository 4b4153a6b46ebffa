"""Runs a schedule's operations, one or several at a time, and asks the serving view through Spark, until it is killed.

Argument: the schedule's folder. Takes one operation a line on its standard input, ``{"id", "operation", …}``; gives one
line an outcome, ``@{"id", "error"}``, and one an answer, ``@{"rollup", "position", "began", "rows"}``.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from merge_mutations import mutate
from merge_world import World
from pyspark.sql import SparkSession

from tidemark.definition.measures import Dialect
from tidemark.lake.maintenance.compaction import compact
from tidemark.quality import load_suite
from tidemark.serving import pin, serving_sql
from tidemark_spark.batch.reconcile import reconcile
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.driver.session import local_session
from tidemark_spark.speed import fold

WAIT_SECONDS = 60
READ_EVERY_SECONDS = 2.0
GRACE = timedelta(seconds=12)
"""Longer than any reader takes to pin its snapshot."""


@dataclass(frozen=True)
class Context:
    spark: SparkSession
    world: World


def _reprocess(context: Context, *, start: str, end: str, audit: bool = False) -> None:
    # Great Expectations takes long to import; what it checks is checked elsewhere.
    world = context.world
    reprocess(
        context.spark, world.pipeline, load_suite(world.pipeline, world.settings), world.settings,
        date.fromisoformat(start), date.fromisoformat(end), wait_seconds=WAIT_SECONDS, audit=audit, say=note,
    )  # fmt: skip


def _compact(context: Context) -> None:
    compact(context.world.pipeline, context.world.settings, min_files=2)


def _fold(context: Context) -> None:
    fold.fold(context.spark, context.world.pipeline, context.world.settings, grace=GRACE)


def _reconcile(context: Context, *, start: str, end: str) -> None:
    world = context.world
    found = reconcile(
        context.spark, world.pipeline, load_suite(world.pipeline, world.settings), world.settings,
        date.fromisoformat(start), date.fromisoformat(end), say=note,
    )  # fmt: skip
    if found.served or found.speed:
        raise ValueError(f"reconcile finds drift where there is none: {found}")


OPERATIONS: dict[str, Callable[..., None]] = {
    "reprocess": _reprocess,
    "compact": _compact,
    "fold": _fold,
    "reconcile": _reconcile,
}


def note(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


_output = threading.Lock()


def tell(**facts: Any) -> None:
    with _output:
        print("@" + json.dumps(facts, default=str), flush=True)


def run(context: Context, order: dict[str, Any]) -> None:
    number, name = order.pop("id"), order.pop("operation")
    try:
        OPERATIONS[name](context, **order)
    except Exception as error:
        tell(id=number, error=f"{type(error).__name__}: {error}"[:3000])
    else:
        tell(id=number, error=None)


def read_on(context: Context, paused: threading.Event) -> None:
    """Answer through Spark, over versions that are pinned as the product's reader pins them."""
    spark, world = context.spark.newSession(), context.world
    while not paused.wait(READ_EVERY_SECONDS):
        for rollup in world.pipeline.rollups:
            began = time.monotonic()
            snapshot = pin(world.pipeline, rollup, world.settings)
            for name, table in (("batch", snapshot.batch), ("speed", snapshot.speed)):
                uri = getattr(world.tables, name)[rollup.name].uri
                frame = spark.read.format("delta").option("versionAsOf", table.version()).load(uri)
                frame.createOrReplaceTempView(name)
            text = serving_sql(world.pipeline, rollup, Dialect.SPARK)
            try:
                rows = spark.sql(text).toArrow().to_pylist()
            except Exception as error:
                tell(failed=f"{type(error).__name__}: {error}"[:3000])
                continue
            tell(rollup=rollup.name, position=snapshot.position, began=began, rows=[_plain(row) for row in rows])


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    times = {name: row[name].isoformat() for name in ("window_start", "newest_event")}
    numbers = {name: None if row[name] is None else str(row[name]) for name in ("revenue", "least", "most", "units")}
    return {
        "event": row["event"],
        "events": row["events"],
        "valued": row["valued"],
        "final": row["final"],
        **times,
        **numbers,
    }


def main(folder: Path) -> None:
    world = World.load(folder)
    mutate(world.mutation)
    spark = local_session("operations", world.settings)
    context = Context(spark, world)
    tell(ready=True)
    reader = threading.Thread(target=read_on, args=(context, threading.Event()), daemon=True)
    reader.start()
    with ThreadPoolExecutor(world.at_once) as pool:
        for line in sys.stdin:
            pool.submit(run, context, json.loads(line))
        os._exit(1)  # the parent is gone


if __name__ == "__main__":
    main(Path(sys.argv[1]))
