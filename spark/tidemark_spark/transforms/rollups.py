"""Partial aggregates: from events to the mergeable states of a rollup. One definition for speed and batch."""

from datetime import timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from tidemark.definition import Pipeline, Rollup, SessionWindow, Window
from tidemark.definition.measures import Dialect

_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)


def partial_aggregates(events: DataFrame, pipeline: Pipeline, rollup: Rollup, grain: list[str]) -> DataFrame:
    """One row a key, pane, event date and what else ``grain`` names; columns as in the speed and batch tables.

    Panes are half-open. Those of whole days start at midnight in the pipeline's time zone, all others at multiples of
    their length since the epoch, in UTC. Of a session, a row holds what these events show on that date: ``pane_start``
    is their first event time and ``max_event_time`` their last.
    """
    states = [F.expr(state.partial).alias(state.column) for state in rollup.states(pipeline.event_schema)]
    newest = _newest(pipeline.event_time, "approximate_arrival_timestamp")
    by = [*rollup.by, "event_date", *grain]
    if isinstance(rollup.window, SessionWindow):
        session = F.session_window(pipeline.event_time, f"{rollup.window.gap // _SECOND} seconds").alias("_session")
        first = F.min(pipeline.event_time).alias("pane_start")
        return events.groupBy(*by, session).agg(first, *states, *newest).drop("_session")
    panes = events.withColumn("pane_start", _pane_start(rollup.window, pipeline))
    return panes.groupBy(*by, "pane_start").agg(*states, *newest)


def with_finished(partials: DataFrame, pipeline: Pipeline, rollup: Rollup) -> DataFrame:
    """Partial aggregates, a row a window, with the finished values that batch tables keep (``Rollup.stored``)."""
    stored = {
        kept.column: F.expr(rollup.measures[name].finish(name, pipeline.event_schema, Dialect.SPARK))
        for name, kept in rollup.stored(pipeline.timezone).items()
    }
    return partials.withColumns(stored) if stored else partials


def merge_partials(rows: DataFrame, pipeline: Pipeline, rollup: Rollup, grain: list[str]) -> DataFrame:
    """Partial aggregates merged again: one row a key, pane or session, event date and what else ``grain`` names.

    ``rows`` are of a rollup's speed or batch table, without marker rows (a null ``pane_start``). Serving answers the
    same from the rows and from what they were merged into: bit for bit for exact measures, and for sketches within
    their error. Columns as from ``partial_aggregates``; the merged row has the highest ``ingest_batch``.
    """
    states = [F.expr(state.merge[Dialect.SPARK]).alias(state.column) for state in rollup.states(pipeline.event_schema)]
    newest = _newest("max_event_time", "max_arrival_time")
    by = [*rollup.by, "event_date", *grain]
    if isinstance(rollup.window, SessionWindow):
        numbered = _numbered_sessions(rows, rollup.window, by)
        first = F.min("pane_start").alias("pane_start")
        return numbered.groupBy(*by, "_session").agg(first, *states, *newest).drop("_session")
    return rows.groupBy(*by, "pane_start").agg(*states, *newest)


def _pane_start(window: Window, pipeline: Pipeline) -> Column:
    if window.days and pipeline.timezone != "UTC":
        days = "unix_date(event_date)"
        midnight = f"timestamp_micros(({days} - pmod({days}, {window.days})) * 86400000000)"
        return F.expr(f"to_utc_timestamp({midnight}, '{pipeline.timezone}')")
    micros = f"unix_micros(`{pipeline.event_time}`)"
    return F.expr(f"timestamp_micros({micros} - pmod({micros}, {window.pane // _MICROSECOND}))")


def _numbered_sessions(rows: DataFrame, window: SessionWindow, by: list[str]) -> DataFrame:
    """The rows with the number of their session, as in the serving view: gaps and islands."""
    ordered = Over.partitionBy(*by).orderBy("pane_start")
    before = ordered.rowsBetween(Over.unboundedPreceding, -1)
    ended = F.unix_micros(F.max("max_event_time").over(before)) + window.gap // _MICROSECOND
    opens = F.when(ended >= F.unix_micros("pane_start"), 0).otherwise(1)
    return rows.withColumn("_opens", opens).withColumn("_session", F.sum("_opens").over(ordered)).drop("_opens")


def _newest(event_time: str, arrival_time: str) -> list[Column]:
    return [
        F.max(event_time).alias("max_event_time"),
        F.max(arrival_time).alias("max_arrival_time"),
        F.max("ingest_batch").alias("ingest_batch"),
    ]
