"""An answer as Python's own values."""

from typing import Any

import pyarrow as pa


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table; a column with a date or time that Python cannot hold is text, as ``19900-05-17``."""
    for at, field in enumerate(table.schema):
        if pa.types.is_temporal(field.type):
            try:
                table.column(at).to_pylist()
            except (OverflowError, ValueError):
                table = table.set_column(at, field.name, table.column(at).cast(pa.string()))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
