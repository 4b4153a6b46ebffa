"""What the processes of one merge schedule share: the pipeline under attack, its suites, settings and tables."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from tidemark.core.settings import Settings, get_settings
from tidemark.definition import Count, KinesisStream, Max, Min, Pipeline, Rollup, Sum, Window
from tidemark.lake.tables import Tables, tables_of

KINDS = ("click", "view", "purchase")
RELIC = "relic"
"""A kind of event that has a date of its own, which a stricter definition empties."""
RELIC_DAY = date(2026, 2, 20)
DAYS = tuple(date(2026, 3, 1) + timedelta(days=n) for n in range(5))
MICROS_A_DAY = 86_400_000_000
STARTING, STARTED = "the driver of the streams starts", "both queries run"
"""What that driver says."""

_MEASURES = {
    "events": Count(),
    "valued": Count("value"),
    "units": Sum("user_id"),
    "revenue": Sum("value"),
    "least": Min("value"),
    "most": Max("value"),
}


def micros(day: date) -> int:
    """Microseconds from the epoch to the begin of a day, in UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def moment(at: int) -> datetime:
    """A number of microseconds since the epoch as a time, exactly."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)


@dataclass(frozen=True)
class World:
    """Where a schedule takes place; kept in its folder, so that each child process finds the same."""

    folder: str
    endpoint: str
    segment_seconds: int
    max_records: int
    at_once: int
    """How many operations run at the same time."""
    mutation: str | None
    stricter: bool = False
    """Whether the definition's suite knows no relics."""

    def save(self) -> None:
        """Leave this and both suites in the folder."""
        folder = Path(self.folder)
        (folder / "world.json").write_text(json.dumps(asdict(self)))
        (folder / "suite.json").write_text(json.dumps(_suite([*KINDS, RELIC])))
        (folder / "stricter.json").write_text(json.dumps(_suite(KINDS)))

    @classmethod
    def load(cls, folder: Path) -> "World":
        return cls(**json.loads((folder / "world.json").read_text()))

    @property
    def settings(self) -> Settings:
        return Settings(
            lake_uri=f"{self.folder}/lake",
            state_uri=f"{self.folder}/state",
            jars_dir=get_settings().jars_dir,
            kinesis_endpoint_url=self.endpoint,
            trigger_seconds=0.5,
            max_records_per_batch=self.max_records,
            # Compiled quickly rather than well: a child lives for seconds.
            spark_conf={"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1", "spark.driver.memory": "1g"},
        )

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(
            name="orders",
            source=KinesisStream("orders"),
            schema="event_id STRING, user_id BIGINT, event STRING, value DECIMAL(12,2), event_time TIMESTAMP",
            event_time="event_time",
            key=["event_id"],
            rollups=[
                Rollup(
                    "sliding", by=["event"], window=Window(timedelta(hours=6), timedelta(hours=3)), measures=_MEASURES
                ),
                Rollup("daily", by=["event"], window=Window(timedelta(days=1)), measures=_MEASURES),
            ],
            suite=f"{self.folder}/{'stricter' if self.stricter else 'suite'}.json",
            segment_length=timedelta(seconds=self.segment_seconds),
        )

    @property
    def tables(self) -> Tables:
        return tables_of(self.pipeline, self.settings)


def _suite(kinds: Sequence[str]) -> dict[str, Any]:
    rules: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("expect_column_values_to_not_be_null", {"column": "user_id"}, {"action": "quarantine"}),
        ("expect_column_values_to_be_in_set", {"column": "event", "value_set": list(kinds)}, {"action": "quarantine"}),
        (
            "expect_column_values_to_be_between",
            {"column": "value", "min_value": 0, "max_value": 100_000},
            {"action": "quarantine"},
        ),
    ]
    expectations = [
        {
            "id": f"00000000-0000-4000-8000-{n:012d}",
            "type": kind,
            "kwargs": kwargs,
            "meta": meta,
            "severity": "critical",
        }
        for n, (kind, kwargs, meta) in enumerate(rules)
    ]
    return {"name": "orders", "expectations": expectations, "meta": {}}
