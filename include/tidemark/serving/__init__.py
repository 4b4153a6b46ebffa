"""The serving view: batch and speed partial aggregates merged into one answer, exact at every instant.

Examples:
    The streams and the batch job write the tables. Here a few rows in a temporary folder stand for their work. The
    pipeline counts flights by carrier and hour:

    >>> from tempfile import TemporaryDirectory
    >>> from tidemark.core.settings import Settings
    >>> from tidemark.definition import Count, KinesisStream, Max, Pipeline, Rollup, Window
    >>> flights = Pipeline(
    ...     name="flights",
    ...     source=KinesisStream("flights"),
    ...     schema="flight_id STRING, carrier STRING, delay BIGINT, departure TIMESTAMP",
    ...     event_time="departure",
    ...     key=["flight_id"],
    ...     rollups=[
    ...         Rollup(
    ...             "by_carrier",
    ...             by=["carrier"],
    ...             window=Window("1 hour"),
    ...             measures={"flights": Count(), "longest_delay": Max("delay")},
    ...         )
    ...     ],
    ...     suite="expectations/flights.json",
    ... )
    >>> folder = TemporaryDirectory()
    >>> settings = Settings(lake_uri=folder.name)

    Both layers keep partial aggregates: one row a carrier and hour, with a state for each measure.

    >>> from datetime import UTC, date, datetime
    >>> import pyarrow as pa
    >>> from tidemark.lake.evolution import create_tables
    >>> from tidemark.lake.tables import tables_of
    >>> tables = tables_of(flights, settings)
    >>> create_tables(tables, settings)
    >>> def partial(table, hour, count, longest, **coordinate):
    ...     at = datetime(2026, 5, 1, hour, tzinfo=UTC)
    ...     states = {"flights__count": count, "longest_delay__max": longest}
    ...     times = {"pane_start": at, "max_event_time": at, "max_arrival_time": at, "event_date": at.date()}
    ...     return pa.Table.from_pylist([{"carrier": "UA", **times, **states, **coordinate}], table.schema)

    A reprocess has covered the date through segment 3. The speed layer still holds a row of that segment, which the
    batch has counted, and a late flight of segment 4, which it has not:

    >>> from deltalake import write_deltalake
    >>> from tidemark.lake.commits import IdempotentWriter
    >>> batch, speed = tables.batch["by_carrier"], tables.speed["by_carrier"]
    >>> write_deltalake(batch.uri, partial(batch, 9, 2, 31, ingest_batch=6, covered_segment=3), mode="append")
    >>> refine = IdempotentWriter(speed, settings)
    >>> refine.append(partial(speed, 9, 2, 31, ingest_batch=6, segment=3), 6)
    True
    >>> refine.append(partial(speed, 9, 1, 45, ingest_batch=7, segment=4), 7)
    True

    The answer counts each flight exactly once, and says through which position of the log it holds them:

    >>> from tidemark.serving import query, pin
    >>> snapshot = pin(flights, flights.rollup("by_carrier"), settings)
    >>> query(snapshot).select(["carrier", "flights", "longest_delay", "final"]).to_pylist()
    [{'carrier': 'UA', 'flights': 3, 'longest_delay': 45, 'final': False}]
    >>> snapshot.position
    7
"""

from tidemark.serving.session import sql_session
from tidemark.serving.sql import serving_sql
from tidemark.serving.view import Snapshot, pin, query

__all__ = ["Snapshot", "pin", "query", "serving_sql", "sql_session"]
