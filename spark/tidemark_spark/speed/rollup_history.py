"""The history of a rollup that comes to a running pipeline, or comes back: rolled up from all that silver holds."""

from datetime import date

import pyarrow.compute as pc
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tidemark.core.settings import Settings
from tidemark.definition import Pipeline, Rollup
from tidemark.lake.generations import History, lacks_history
from tidemark.lake.publish import add_files, replace_files
from tidemark.lake.snapshots import NOTHING, active_files, open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import (
    BATCH_APP,
    BEGUN_APP,
    COVERAGE_APP,
    REFINE_APP,
    covered_app,
    folded_app,
    removed_app,
)
from tidemark_spark.speed.progress import say
from tidemark_spark.transforms.rollups import partial_aggregates
from tidemark_spark.transforms.staging import Staged, stage


def roll_up_history(spark: SparkSession, pipeline: Pipeline, settings: Settings) -> list[str]:
    """Give rollups that are new, or back, the partial aggregates of all that silver holds already; their names.

    So a rollup that is added to a running pipeline answers for all of the history at once, and never for a part of it.
    Called by the refine stream before it starts: until then, nothing is added to silver.
    """
    tables = tables_of(pipeline, settings)
    history = History.of(pipeline, settings)
    done = []
    for rollup in pipeline.rollups:
        if not lacks_history(tables, rollup.name, history, settings):
            continue
        came_back = history.came_back(rollup.name)
        if came_back is not None:
            _roll_up_anew(spark, pipeline, rollup, came_back, settings)
            done.append(rollup.name)
            continue
        staged, through = _staged(spark, pipeline, rollup, settings)
        if add_files(tables.speed[rollup.name], staged.files, {REFINE_APP: through}, settings):
            say("rolled up history", rollup=rollup.name, through=through, rows=staged.rows)
            done.append(rollup.name)
    return done


def _roll_up_anew(spark: SparkSession, pipeline: Pipeline, rollup: Rollup, came_back: int, settings: Settings) -> None:
    """Put the history of a rollup that is back in the place of all that its tables hold.

    They lack what came while it was away, and what they hold was not judged again when silver was. The speed table goes
    first: a reader of the two sees by ``BEGUN_APP`` that they do not belong together yet (``tidemark.serving.pin``),
    and a run that dies between is done again. A reprocess that publishes meanwhile makes it begin anew.
    """
    tables = tables_of(pipeline, settings)
    batch_table, speed_table = tables.batch[rollup.name], tables.speed[rollup.name]
    while True:
        batch, speed = open_table(batch_table, settings), open_table(speed_table, settings)
        counter = (COVERAGE_APP, position(batch, COVERAGE_APP))
        staged, through = _staged(spark, pipeline, rollup, settings)
        days = sorted(_dates(batch) | _dates(speed))
        emptied = {app: NOTHING for day in days if position(speed, app := removed_app(day)) != NOTHING}
        if not replace_files(
            speed_table,
            staged.files,
            lambda _: True,
            (file["path"] for file in active_files(speed).to_pylist()),
            settings,
            versions={**emptied, REFINE_APP: through, BEGUN_APP: came_back},
        ):
            staged.discard(settings)
            continue
        uncovered = {
            app: NOTHING
            for day in days
            for app in (covered_app(day), folded_app(day))
            if position(batch, app) != NOTHING
        }
        if replace_files(
            batch_table,
            [],
            lambda _: True,
            (file["path"] for file in active_files(batch).to_pylist()),
            settings,
            counter,
            {**uncovered, BATCH_APP: NOTHING, BEGUN_APP: came_back},
        ):
            break
    say("rolled up anew, as it is back", rollup=rollup.name, through=through, rows=staged.rows)


def _staged(spark: SparkSession, pipeline: Pipeline, rollup: Rollup, settings: Settings) -> tuple[Staged, int]:
    """The partial aggregates of a snapshot of silver, and its position."""
    tables = tables_of(pipeline, settings)
    silver = open_table(tables.silver, settings)
    rows = spark.read.format("delta").option("versionAsOf", silver.version()).load(tables.silver.uri)
    # Another event time may be null in rows that were judged before it was one.
    rows = rows.where(F.col(pipeline.event_time).isNotNull())
    partials = partial_aggregates(rows, pipeline, rollup, ["segment"])
    return stage(partials, tables.speed[rollup.name], settings), position(silver, REFINE_APP)


def _dates(snapshot: DeltaTable) -> set[date]:
    return set(pc.unique(active_files(snapshot)["partition.event_date"]).to_pylist()) - {None}
