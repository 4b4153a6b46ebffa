"""What validations found, in a Delta table: one row an expectation and run, appended by whoever ran the suite."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any, Literal, NamedTuple, get_args

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from tidemark.core.settings import Settings
from tidemark.core.terminal import one_line
from tidemark.lake.commits import retry_conflicts
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import Tables

Stage = Literal["staged slice", "published"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""What was checked: the staged slice of a reprocess, before it is published, or silver as it stands."""


TEXT_CHARACTERS = 300
"""Of a text in a sample, and of a sample in a message: a STRING may hold megabytes."""


class ExpectationResult(NamedTuple):
    """The result of one expectation on a slice; ``success`` is None where it could not be checked, see ``observed``.

    ``observed`` and ``samples`` quote events: the first is one short line, the texts of the others are ``shortened``.
    """

    expectation: str
    success: bool | None
    observed: str
    unexpected: int
    severity: str
    samples: tuple[Any, ...] = ()
    asks: str = ""

    @property
    def blocks_publication(self) -> bool:
        """Whether it keeps rows from being published."""
        return self.success is False and self.severity == "critical"

    @property
    def result(self) -> str:
        """In one word."""
        return "skipped" if self.success is None else "passed" if self.success else "FAILED"

    def summary(self) -> str:
        """The expectation with its figures and sample rows, in one short line."""
        asks = f" (asks {one_line(self.asks, TEXT_CHARACTERS)})" if self.asks else ""
        name, observed = one_line(self.expectation, TEXT_CHARACTERS), self.observed or "nothing"
        line = f"{name}{asks}: observed {observed}, {self.unexpected:,} unexpected"
        shown = " and ".join(one_line(sample_text(sample), TEXT_CHARACTERS) for sample in self.samples)
        return line + (f", such as {shown}" if shown else "")


def sample_text(sample: object) -> str:
    """A sample row, or value, as JSON; whatever type its values have."""
    return orjson.dumps(plain(sample)).decode()


def shortened(value: Any) -> Any:
    """A value with no text of more than ``TEXT_CHARACTERS``: what is cut ends with ``…``."""
    if isinstance(value, str) and len(value) > TEXT_CHARACTERS:
        return f"{value[: TEXT_CHARACTERS - 1]}…"
    if isinstance(value, bytes | bytearray) and len(value) > TEXT_CHARACTERS:
        return shortened(str(bytes(value[:TEXT_CHARACTERS])) + "…" * TEXT_CHARACTERS)
    if isinstance(value, Mapping):
        return {name: shortened(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(part) for part in value]
    return value


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NumPy's as Python's, and as text what JSON has no form for."""
    if isinstance(value, str):
        return str(value).encode(errors="replace").decode()
    if value is None or isinstance(value, bool) or type(value) in (date, datetime):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return float(value) if isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


@retry_conflicts
def record(
    tables: Tables, settings: Settings, checked: Sequence[ExpectationResult], start: date, end: date, stage: Stage
) -> None:
    """Append the results of one run over the event dates ``[start, end)``; ``date.min`` and ``max``: no limit."""
    run, now = uuid.uuid4().hex, datetime.now(UTC)
    whole = {date.min, date.max}
    rows = [
        {
            "run": run,
            "validated_at": now,
            "table": tables.silver.name,
            "stage": stage,
            "from_date": None if start in whole else start,
            "to_date": None if end in whole else end,
            "expectation": one.expectation,
            "asks": one.asks,
            "severity": one.severity,
            "success": one.success,
            "observed": one.observed,
            "unexpected": one.unexpected,
            "samples": sample_text(list(one.samples)),
        }
        for one in checked
    ]
    table = tables.validations
    write_deltalake(
        table.uri,
        pa.Table.from_pylist(rows, schema=table.schema),
        mode="append",
        storage_options=settings.storage_options or None,
    )


def newest(tables: Tables, settings: Settings, stage: str | None = None) -> list[dict[str, Any]]:
    """The rows of the newest run, of one stage or of any; none where nothing was validated yet.

    Raises:
        TableError: the pipeline has no such table yet.
    """
    rows = open_table(tables.validations, settings).to_pyarrow_dataset().to_table()
    if stage:
        rows = rows.filter(pc.equal(rows["stage"], stage))
    latest = pc.max(rows["validated_at"])
    return list(rows.filter(pc.equal(rows["validated_at"], latest)).to_pylist()) if rows.num_rows else []
