"""What is in quarantine and why, read by DuckDB from the table's newest snapshot: no Spark is needed to look."""

from typing import Any

from tidemark.core.documents import MAX_DEPTH, MAX_EVENTS, fields_of
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.quality import RowRule, Suite
from tidemark.quality.suite import EXPECTATION
from tidemark.serving.scan import create_view
from tidemark.serving.view import connect

_SHOWN_CHARACTERS = 2_000
_MEANINGS = {
    "not_utf8": "the record is not UTF-8 text",
    "unparseable_json": "the text is not JSON as RFC 8259 defines it",
    "trailing_text": "something follows the JSON object: if these are more events, see `records` of the definition",
    "not_an_object": "the text is JSON, but not an object",
    "not_an_array": "the text is JSON, but not an array, which the definition says that a record is",
    "no_event": "the record holds no event at all",
    "too_many_events": f"the record holds more than {MAX_EVENTS:,} events",
    "duplicate_member": "a name stands twice in the object, so that its value is not certain",
    "unpaired_surrogate": "an escape is half of a pair of surrogates, which is not a character",
    "nested_too_deep": f"arrays and objects are nested more than {MAX_DEPTH} deep",
    "event_time_out_of_range": "the event's date is before the definition's earliest, or beyond the years 1 to 9999",
    "event_time_in_future": "the event time lies further ahead of the arrival than max_future",
    "wrong_type": "the value does not cast to the column's type, or is a date or time beyond the years 1 to 9999",
    "missing": "the column is required, and absent or null",
    "not_finite": "the number is NaN, infinite, or too large to be summed",
}


def counts(pipeline: Pipeline, settings: Settings) -> list[dict[str, Any]]:
    """Rows by reason, ingest date and segment, in that order; a row with several reasons counts for each of them.

    Raises:
        TableError: the pipeline has no tables yet.
    """
    with connect() as connection:
        create_view(connection, "quarantine", open_table(tables_of(pipeline, settings).quarantine, settings))
        rows = connection.sql(
            """SELECT reason, ingest_date, segment, count(*) AS rows,
                min(ingest_time) AS first, max(ingest_time) AS last
            FROM (SELECT unnest(reasons) AS reason, * FROM quarantine)
            GROUP BY ALL ORDER BY reason, ingest_date, segment"""
        )
        return list(rows.to_arrow_table().to_pylist())


def explain(
    pipeline: Pipeline, suite: Suite, settings: Settings, *, reason: str | None = None, limit: int = 5
) -> list[dict[str, Any]]:
    """The newest quarantined rows, each with the raw record and what each of its reasons means for its values.

    ``reason``: only rows that have it. Rows: ``position``, ``shard_id``, ``sequence_number``, ``record`` (the text, or
    its bytes in hexadecimal where it is none) and ``reasons``: a list of ``reason``, ``asks`` and ``values``.

    Raises:
        TableError: the pipeline has no tables yet.
    """
    with connect() as connection:
        create_view(connection, "quarantine", open_table(tables_of(pipeline, settings).quarantine, settings))
        found = connection.sql(
            "SELECT data, reasons, shard_id, sequence_number, ingest_batch, ingest_time FROM quarantine "
            "WHERE $reason IS NULL OR list_contains(reasons, $reason) "
            "ORDER BY ingest_batch DESC, shard_id, length(sequence_number), sequence_number LIMIT $limit",
            params={"reason": reason, "limit": limit},
        )
        rows = found.to_arrow_table().to_pylist()
    rules = {rule.name: rule for rule in suite.rules}
    return [
        {
            "ingest_batch": row["ingest_batch"],
            "ingest_time": row["ingest_time"],
            "shard_id": row["shard_id"],
            "sequence_number": row["sequence_number"],
            "record": _text(row["data"]),
            "reasons": [
                _meaning(name, fields_of(row["data"], pipeline.event_schema.names), rules, pipeline)
                for name in row["reasons"]
            ],
        }
        for row in rows
    ]


def _meaning(reason: str, fields: dict[str, Any], rules: dict[str, RowRule], pipeline: Pipeline) -> dict[str, Any]:
    if reason.startswith(EXPECTATION):
        rule = rules.get(reason.removeprefix(EXPECTATION))
        if rule is None:
            return {"reason": reason, "asks": "the suite has no such expectation now", "values": {}}
        return {"reason": reason, "asks": rule.limits, "values": {name: fields.get(name) for name in rule.columns}}
    kind, _, column = reason.partition(":")
    asks = _MEANINGS.get(kind, "")
    if column and column in pipeline.event_schema:
        asks += f" ({pipeline.event_schema[column].sql})"
    column = column or (pipeline.event_time if kind.startswith("event_time_") else "")
    return {"reason": reason, "asks": asks, "values": {column: fields.get(column)} if column else {}}


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = f"bytes that are no UTF-8: {data.hex()}"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(data):,} bytes)"
