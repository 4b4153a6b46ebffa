"""Definitions of a schedule, as plain values: what changes between them, and the product's own made of them."""

import json
import random
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from tidemark.definition import Count, KinesisStream, Max, Measure, Pipeline, Rollup, Sum, Window

DAYS = tuple(date(2026, 1, n) for n in range(1, 6))
KINDS = ("a", "b", "ü")
FORMS = ("object", "lines", "array")
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati")
HOUR = 3_600_000_000
BASE = "id STRING, kind STRING, at TIMESTAMP, sent TIMESTAMP, money DECIMAL(20,4), units BIGINT"
OPTIONAL = {"note": "STRING", "until": "DATE"}
MEASURES: dict[str, Measure] = {"n": Count(), "money": Sum("money"), "units": Max("units")}


@dataclass(frozen=True)
class Shape:
    """A rollup: its keys, length and slide in microseconds (a length of 0: a day of the zone), and its measures."""

    by: tuple[str, ...] = ("kind",)
    length: int = 0
    slide: int = 0
    measures: tuple[str, ...] = ("n", "money", "units")
    revenue_of: str = "money"

    def made(self, name: str) -> Rollup:
        window = Window("1 day")
        if self.length:
            window = Window(timedelta(microseconds=self.length), timedelta(microseconds=self.slide))
        chosen: dict[str, Measure] = {measure: MEASURES[measure] for measure in self.measures}
        if "money" in chosen:
            chosen["money"] = Sum(self.revenue_of)
        return Rollup(name, list(self.by), window, chosen)


@dataclass(frozen=True)
class Definition:
    """All that a schedule varies."""

    holds: str
    event_time: str = "at"
    zone: str = "UTC"
    key: tuple[str, ...] = ("id",)
    required: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    earliest: date = date(1970, 1, 1)
    columns: frozenset[str] = frozenset()
    rollups: dict[str, Shape] = field(default_factory=lambda: {"daily": Shape()})

    def __hash__(self) -> int:
        return hash(str(self))

    def difference(self, history: list["Definition"]) -> str:
        """What is other than in the newest of a history."""
        if not history:
            return str(self)
        both = [(name, getattr(self, name), getattr(history[-1], name)) for name in vars(self)]
        return ", ".join(f"{name} {now}" for name, now, was in both if now != was) or "as before"

    @property
    def judging(self) -> tuple[Any, ...]:
        """What decides about records."""
        return (
            self.event_time, self.zone, self.key, self.required, self.rules, self.earliest, self.columns
        )  # fmt: skip

    @property
    def dating(self) -> tuple[str, str]:
        """What decides about the dates of events."""
        return self.event_time, self.zone

    def pipeline(self, folder: Path) -> Pipeline:
        """The product's definition, with its suite in the folder."""
        path = folder / f"suite-{'-'.join(sorted(self.rules)) or 'none'}.json"
        path.write_text(json.dumps(_suite(self.rules)))
        columns = "".join(f", {name} {OPTIONAL[name]}" for name in sorted(self.columns))
        return Pipeline(
            name="events",
            source=KinesisStream("events"),
            schema=BASE + columns,
            event_time=self.event_time,
            key=list(self.key),
            rollups=[shape.made(name) for name, shape in self.rollups.items()],
            suite=str(path),
            required=sorted(self.required),
            records=self.holds,  # type: ignore[arg-type]
            earliest=self.earliest,
            timezone=self.zone,
            deduplication_horizon=timedelta(days=300),
        )


_RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "kinds": ("expect_column_values_to_be_in_set", {"column": "kind", "value_set": list(KINDS)}),
    "money": ("expect_column_values_to_be_between", {"column": "money", "min_value": 0, "max_value": 1000}),
}
RULES = tuple(_RULES)


def _suite(rules: frozenset[str]) -> dict[str, Any]:
    chosen = [_RULES[name] for name in sorted(rules)]
    expectations = [
        {"id": f"00000000-0000-4000-8000-{n:012d}", "type": kind, "kwargs": kwargs, "severity": "critical",
         "meta": {"action": "quarantine"}}
        for n, (kind, kwargs) in enumerate(chosen)
    ]  # fmt: skip
    return {"name": "events", "expectations": expectations, "meta": {}}


SLIDING = Shape(("kind",), 6 * HOUR, 3 * HOUR)


def changed(rng: random.Random, definition: Definition) -> Definition:
    """The definition with one thing or two changed."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        definition = rng.choice(_CHANGES)(rng, definition)
    return definition


def _rollup(rng: random.Random, d: Definition) -> Definition:
    rollups = dict(d.rollups)
    if "sliding" in rollups:
        del rollups["sliding"]
    else:
        # Mostly as it ever was; now and then as something else, which is refused if it was there before.
        rollups["sliding"] = rng.choice([SLIDING, SLIDING, SLIDING, replace(SLIDING, by=())])
    return replace(d, rollups=rollups)


def _measure(rng: random.Random, d: Definition) -> Definition:
    name = rng.choice(list(d.rollups))
    shape = d.rollups[name]
    measure = rng.choice(["money", "units"])
    kept = tuple(one for one in MEASURES if (one in shape.measures) != (one == measure))
    of = rng.choice(["money", "money", "money", "units"])
    return replace(d, rollups={**d.rollups, name: replace(shape, measures=kept, revenue_of=of)})


def _toggled(options: tuple[str, ...], name: str) -> Any:
    def change(rng: random.Random, d: Definition) -> Definition:
        return replace(d, **{name: getattr(d, name) ^ {rng.choice(options)}})

    return change


def _chosen(name: str, *options: Any) -> Any:
    return lambda rng, d: replace(d, **{name: rng.choice([o for o in options if o != getattr(d, name)])})


_CHANGES = [
    _rollup,
    _rollup,
    _measure,
    _toggled(("kind", "units", "sent"), "required"),
    _toggled(RULES, "rules"),
    _toggled(tuple(OPTIONAL), "columns"),
    _chosen("zone", *ZONES),
    _chosen("event_time", "at", "sent"),
    _chosen("key", ("id",), ("id", "kind"), ("id", "at")),
    _chosen("earliest", date(1970, 1, 1), DAYS[1]),
]
