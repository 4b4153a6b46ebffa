"""A lake of sales to which micro-batches are added one by one, for tests of reprocess and of changed definitions."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from layers import kinesis_records, make_tables, read

from tidemark.core.settings import Settings
from tidemark.definition import Count, KinesisStream, Pipeline, Rollup, Sum, Window
from tidemark.lake.generations import begin_generation
from tidemark.lake.log import seal
from tidemark.lake.tables import tables_of
from tidemark.quality.suite import Suite, parse_suite
from tidemark.serving import pin, query
from tidemark_spark.speed.ingest import BronzeSink

SCHEMA = "id STRING, shop STRING, amount DECIMAL(12,2), at TIMESTAMP, sent TIMESTAMP"
DAYS = [date(2026, 1, n) for n in range(1, 5)]


def pipeline(**changed: Any) -> Pipeline:
    definition: dict[str, Any] = {
        "name": "sales",
        "source": KinesisStream("sales"),
        "schema": SCHEMA,
        "event_time": "at",
        "key": ["id"],
        "rollups": [
            Rollup("daily", by=["shop"], window=Window("1 day"), measures={"n": Count(), "sum": Sum("amount")})
        ],
        "suite": "suite.json",
    }
    return Pipeline(**{**definition, **changed})


SALES = pipeline()
ROLLUP = SALES.rollups[0]


def expectation(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"id": "414f27c7-bedc-5fae-8718-9531803cce39", "type": kind, "kwargs": kwargs, "severity": "critical"}


@pytest.fixture
def suite(settings: Settings) -> Callable[..., Suite]:
    """Makes a suite of the expectations given, which the refine stream of the settings then reads too."""

    def make(*expectations: dict[str, Any]) -> Suite:
        path = settings.project_dir / "suite.json"
        path.write_bytes(orjson.dumps({"name": "sales", "expectations": expectations, "meta": {}}))
        return parse_suite(path, SALES)

    return make


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"project_dir": tmp_path})


def sale(number: int, day: date, amount: str = "10.00", hour: int = 12) -> dict[str, Any]:
    return {"id": f"s{number}", "shop": "a", "amount": amount, "at": f"{day}T{hour:02}:00:00Z"}


class Lake:
    """A lake to which micro-batches are added one by one, at a clock of its own."""

    def __init__(self, settings: Settings, refine: Callable[..., None]) -> None:
        self.settings = settings
        self.now = datetime(2026, 1, 5, tzinfo=UTC)
        self._refine = refine
        self._sink = BronzeSink(SALES, settings, lambda: "query", clock=lambda: self.now)
        self._batches = self._records = 0

    def add(
        self, *events: dict[str, Any] | bytes, definition: Pipeline = SALES, wait: timedelta = timedelta(0)
    ) -> None:
        self.now += wait
        records = kinesis_records(events, self._records, arrival=self.now)
        self._sink.write(records, self._batches)
        self._batches, self._records = self._batches + 1, self._records + len(events)
        self._refine(definition)

    def seal(self) -> None:
        seal(tables_of(SALES, self.settings), self.settings)

    def served(self, definition: Pipeline = SALES) -> dict[date, tuple[int, str]]:
        rows = query(pin(definition, definition.rollups[0], self.settings)).to_pylist()
        return {row["window_start"].date(): (row["n"], str(row["sum"])) for row in rows}

    def ids(self, table: str) -> list[str]:
        rows = read(getattr(tables_of(SALES, self.settings), table), self.settings).to_pylist()
        return sorted(row["id"] if table == "silver" else orjson.loads(row["data"])["id"] for row in rows)


@pytest.fixture
def lake(settings: Settings, suite: Callable[..., Suite], refine: Callable[..., None]) -> Lake:
    suite()
    make_tables(SALES, settings)
    begin_generation(SALES, suite(), settings)
    return Lake(settings, refine)
