"""Partial aggregates: from events to the mergeable states of a rollup. One definition for speed and batch."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from tidemark.definition import Pipeline, Rollup


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
            F.max(pipeline.event_time).alias("max_event_time"),
            F.max("approximate_arrival_timestamp").alias("max_arrival_time"),
            F.max("ingest_batch").alias("ingest_batch"),
        )
    )
