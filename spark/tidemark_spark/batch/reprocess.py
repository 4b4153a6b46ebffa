"""Batch reprocessing: silver slices and batch partial aggregates recomputed from bronze through a sealed segment.

Write, audit, publish: everything is staged beside the tables, the suite is checked on what was staged, and only then
each table is swapped in by one commit. Silver first, then the rollups: each rollup's answer changes in one commit,
together with its coverage. A run that dies leaves staged files that no version holds; the next one does it all again.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import NamedTuple

from pyspark.sql import SparkSession

from tidemark.core.errors import CoverageError, StalledError
from tidemark.core.settings import Settings
from tidemark.core.waiting import wait_for
from tidemark.definition import Pipeline
from tidemark.lake.generations import current_generation
from tidemark.lake.log import Sealed, seal
from tidemark.lake.publish import mark_judged, publish_dates
from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import Tables, tables_of
from tidemark.lake.transaction_ids import BATCH_APP, REFINE_APP
from tidemark.quality import Suite
from tidemark_spark.batch.reclassify import (
    Reclassified,
)
from tidemark_spark.batch.slice import Slice
from tidemark_spark.batch.validate import import_ahead
from tidemark_spark.transforms.staging import Staged


class Reprocessed(NamedTuple):
    """What a reprocess did; ``published`` are the event dates that it replaced in every table."""

    start: date
    end: date
    covered_segment: int
    bronze_rows: int
    silver_rows: int
    batch_rows: dict[str, int]
    reclassified: Reclassified
    published: list[date]
    seconds: float


def seal_and_wait(tables: Tables, settings: Settings, wait_seconds: float) -> Sealed:
    """Seal the open segment and wait until refine has passed it, as long as it moves.

    ``wait_seconds``: how long it may stand still.

    Raises:
        CoverageError: it has stood still for that long; nothing was changed.
    """
    sealed = seal(tables, settings)
    through = sealed.through

    def positions() -> dict[str, int]:
        return {table.name: position(open_table(table, settings), REFINE_APP) for table in tables.refined}

    try:
        wait_for(
            lambda: all(at >= through for at in positions().values()),
            f"refine passes ingest_batch {through}",
            depends_on=[],
            moves=positions,
            quiet_seconds=wait_seconds,
        )
    except StalledError as error:
        lagging = ", ".join(name for name, at in positions().items() if at < through)
        raise CoverageError(
            f"refine has not passed ingest_batch {through}, and has stood still for {wait_seconds:g} s (behind: "
            f"{lagging}): is the refine stream running? See `tidemark status`, or allow more time"
        ) from error
    return sealed


def reprocess(
    spark: SparkSession,
    pipeline: Pipeline,
    suite: Suite,
    settings: Settings,
    start: date,
    end: date,
    *,
    wait_seconds: float = 300,
    audit: bool = True,
    say: Callable[[str], None] = print,
) -> Reprocessed:
    """Recompute the event dates in ``[start, end)`` from bronze, check them, and publish them, one commit a table.

    ``date.min`` and ``date.max`` stand for everything. ``audit``: whether the suite is checked on the staged slice.

    Raises:
        CoverageError: refine did not pass the sealed segment in time, the range is too small for what a changed
            definition moves, or bronze lacks records that the log has for the range; nothing was changed.
        QualityGateError: the staged slice breaks a critical expectation, or a row one whose action is fail; nothing was
            changed.
        TableError: the streams run another definition of the pipeline's events, or have begun one meanwhile: then
            nothing more is published.
    """
    began = time.monotonic()
    if audit:
        import_ahead()
    tables = tables_of(pipeline, settings)
    current_generation(pipeline, suite, settings)  # to refuse at once
    sealed = seal_and_wait(tables, settings, wait_seconds)
    # Streams may have been restarted meanwhile. From here on, publishing compares.
    generation = current_generation(pipeline, suite, settings)
    segment, through = sealed
    run = Slice(spark, pipeline, suite, settings, start, end, sealed, generation)
    say(f"{pipeline.name}: event dates {run.name} through segment {segment} (ingest_batch {through})")
    staged = run.stage_silver()
    say(f"silver: {staged.rows:,} rows staged, from {run.bronze_rows:,} of bronze")
    for name, count in run.warned.items():
        say(f"warning: {count:,} rows break {name}")
    partials: dict[str, Staged] = {}
    try:
        if audit:
            run.audit(staged, say)
        days = run.days(staged)
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="rollup") as pool:
            jobs = {r.name: pool.submit(run.stage_batch, staged, r, days, through) for r in pipeline.rollups}
            for name, job in jobs.items():
                partials[name] = job.result()
                say(f"batch_{name}: {partials[name].rows:,} partial aggregates staged")
        quarantined = run.quarantine_newly_broken() if run.judged_before else 0
    except BaseException:
        for each in (staged, *partials.values()):
            each.discard(settings)
        raise
    of_all = run.everything
    by = generation.number
    published = judged = set(
        publish_dates(tables.silver, staged.files, days, segment, settings, everything=of_all, generation=by)
    )
    for name, rows in partials.items():
        published = published & set(
            publish_dates(
                tables.batch[name],
                rows.files,
                days,
                segment,
                settings,
                {BATCH_APP: through},
                everything=of_all,
                generation=by,
            )
        )
    if passed := sorted(set(days) - published):
        say(f"left as they are, since another run has covered them further: {', '.join(map(str, passed))}")
    recovered = run.release_recovered() if run.judged_before else 0
    indexed = run.indexed_days()
    if run.everything and (told := run.date_anew()):
        say(told)
    # Last, so that a run that dies before is not taken for one that has cleared quarantine.
    if generation.number > 0:
        # Dates that have no event in silver may have records in quarantine, also those that the index has only now.
        mark_judged(tables.silver, judged | ((indexed | run.indexed_days()) - set(days)), generation.number, settings)
    say(f"published {len(published):,} event dates")
    rows_by_rollup = {name: rows.rows for name, rows in partials.items()}
    return Reprocessed(
        start, end, segment, run.bronze_rows, staged.rows, rows_by_rollup,
        Reclassified(quarantined, recovered), sorted(published), time.monotonic() - began,
    )  # fmt: skip
