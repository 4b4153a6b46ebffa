"""Partial aggregates: from events to the mergeable states of a rollup. One definition for speed and batch."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from tidemark.definition import Pipeline, Rollup
from tidemark.definition.measures import Dialect


def partial_aggregates(events: DataFrame, pipeline: Pipeline, rollup: Rollup, grain: list[str]) -> DataFrame:
    """One row a key, pane, event date and what else ``grain`` names; columns as in the speed and batch tables.

    Panes are half-open and start at multiples of their length since the epoch, in UTC.
    """
    pane = int(rollup.window.pane.total_seconds() * 1_000_000)
    micros = f"unix_micros(`{pipeline.event_time}`)"
    states = rollup.states(pipeline.events)
    return (
        events.withColumn("pane_start", F.expr(f"timestamp_micros({micros} - pmod({micros}, {pane}))"))
        .groupBy(*rollup.by, "pane_start", "event_date", *grain)
        .agg(
            *(F.expr(state.partial).alias(state.column) for state in states),
            *_newest(pipeline.event_time, "approximate_arrival_timestamp"),
        )
    )


def merge_partials(rows: DataFrame, pipeline: Pipeline, rollup: Rollup, grain: list[str]) -> DataFrame:
    """Partial aggregates merged again: one row a key, pane, event date and what else ``grain`` names.

    ``rows`` are of a rollup's speed or batch table, without marker rows (a null ``pane_start``). Serving answers the
    same from the rows and from what they were merged into: bit for bit for exact measures, and for sketches within
    their error. Columns as from ``partial_aggregates``; the merged row has the highest ``ingest_batch``.
    """
    states = rollup.states(pipeline.events)
    return rows.groupBy(*rollup.by, "pane_start", "event_date", *grain).agg(
        *(F.expr(state.merge[Dialect.SPARK]).alias(state.column) for state in states),
        *_newest("max_event_time", "max_arrival_time"),
    )


def _newest(event_time: str, arrival_time: str) -> list[Column]:
    return [
        F.max(event_time).alias("max_event_time"),
        F.max(arrival_time).alias("max_arrival_time"),
        F.max("ingest_batch").alias("ingest_batch"),
    ]
