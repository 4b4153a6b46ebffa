"""Write docs/data-dictionary.md from the tables' definitions. ``make docs`` runs it, and a test says when it is due."""

from pathlib import Path

import pyarrow as pa

from tidemark.core.columns import MEANINGS
from tidemark.core.settings import Settings
from tidemark.lake.tables import Table, tables_of
from tidemark.pipelines.clickstream import clickstream

TARGET = Path(__file__).parent.parent / "docs" / "data-dictionary.md"
_HEAD = """# Data dictionary

The tables of a pipeline, here of `clickstream`, in the order of a record's way. `make docs` generates this page from
the tables' definitions. Each table is a Delta table at `TIDEMARK_LAKE_URI/<pipeline>/<table>`. Words are explained in
the [glossary](glossary.md), and [architecture](architecture.md) says who writes what, in which commit.
"""
_GRAIN = {
    "bronze": "one row a Kinesis record, or a user record of a KPL aggregate. Append-only.",
    "silver": "one row a valid event. A reprocess replaces event dates through the segment that it covers.",
    "quarantine": "one row an event that is not valid, or a record that cannot be split into events.",
    "refine_log": "one row an ingest_batch: the account of its records.",
    "generations": "one row a version of the definition that the streams ran with. Append-only.",
    "validations": "one row an expectation and run of the suite. Append-only.",
}
_SPEED = """one row a key, pane, event date, segment and micro-batch of refine: partial aggregates. Folding removes rows
that the batch covers, and merges old rows that it does not cover."""
_BATCH = """one row a key, pane and event date: partial aggregates. Beside them, one row a covered date states its
coverage. A reprocess replaces whole event dates."""


def page() -> str:
    """The page's text."""
    tables = tables_of(clickstream, Settings(lake_uri="LAKE"))
    own = {column.name for column in clickstream.event_schema}
    return _HEAD + "".join(_section(table, own) for table in tables)


def _section(table: Table, own: set[str]) -> str:
    grain = _GRAIN.get(table.name) or (_SPEED if table.name.startswith("speed_") else _BATCH)
    lines = [f"## {table.name}", "", f"Grain: {grain}"]
    if table.partition_by:
        lines.append(f"Partitioned by {' and '.join(f'`{name}`' for name in table.partition_by)}.")
    if table.app_id:
        lines.append(f"Its log states its position as the transaction `{table.app_id}`.")
    lines += ["", "| column | type | what it holds |", "|---|---|---|"]
    lines += [
        f"| `{field.name}` | {_type(field.type)} | {_meaning(table, field.name, own)} |" for field in table.schema
    ]
    return "\n" + "\n".join(lines) + "\n"


def _type(kind: pa.DataType) -> str:
    names = {"timestamp[us, tz=UTC]": "TIMESTAMP", "int64": "BIGINT", "date32[day]": "DATE", "bool": "BOOLEAN"}
    text = str(kind)
    if pa.types.is_list(kind):
        return f"ARRAY of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return f"STRUCT of {', '.join(f'`{field.name}` {_type(field.type)}' for field in kind)}"
    return names.get(text, text.upper().replace(" ", "").replace("DECIMAL128", "DECIMAL"))


def _meaning(table: Table, name: str, own: set[str]) -> str:
    if name in MEANINGS and not (table.name == "silver" and name in own):
        return MEANINGS[name]
    if name in own:
        return "Of the definition."
    measure, _, state = name.partition("__")
    return f"State of the measure `{measure}`: its {state}." if state else f"Finished value of the measure `{name}`."


if __name__ == "__main__":
    TARGET.write_text(page())
