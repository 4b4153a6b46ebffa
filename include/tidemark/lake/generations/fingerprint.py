"""A definition as plain values: everything of it that decides what is written for a record, object by object."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from tidemark.definition import Pipeline
from tidemark.quality import Suite

PARSER_VERSION = 2
"""Version of the rules by which records become events; raise it with a change that judges any record otherwise.

1: JSON as Spark's ``from_json`` reads it. 2: exactly one JSON document, exact numbers, explicit formats of times.
"""
SINGLE = {
    "parser": "how Tidemark reads records",
    "records": "what a record holds",
    "earliest": "earliest event date",
    "event_time": "event time",
    "key": "key",
    "max_future_seconds": "how far ahead an event time may be",
    "timezone": "zone",
}
"""Fields of a fingerprint that are one object each, and their names for people."""
DATING = ("parser", "records", "event_time", "timezone")
"""Those that decide which events a record holds, and the date of each; so does the type of the event time."""


def deduplication_id(pipeline: Pipeline) -> str:
    """A name for what the refine stream remembers of events: another one where its digests of keys mean others.

    A query that went on with digests of another parser or key would take copies for new events, so each has a
    checkpoint location of its own. A new one is built up again from one deduplication horizon of bronze.
    """
    key = sorted([name, pipeline.event_schema[name].sql] for name in pipeline.key)
    return hashlib.sha256(orjson.dumps([PARSER_VERSION, key])).hexdigest()[:12]


def fingerprinted(pipeline: Pipeline, suite: Suite) -> dict[str, Any]:
    """Everything of a definition that decides what is written for a record, in plain values."""
    rollups = {
        rollup.name: {
            "by": list(rollup.by),
            "window": str(rollup.window),
            "states": {s.column: [s.type.sql, s.partial] for s in rollup.states(pipeline.event_schema)},
        }
        for rollup in pipeline.rollups
    }
    rules = sorted([rule.name, rule.broken] for rule in suite.rules if rule.action == "quarantine")
    return {"rollups": rollups, **_of_events(pipeline), "required": sorted(pipeline.required), "rules": rules}


def _of_events(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "parser": PARSER_VERSION,
        "records": pipeline.records,
        "earliest": pipeline.earliest.isoformat(),
        "columns": [[column.name, column.type.sql] for column in pipeline.event_schema],
        "event_time": pipeline.event_time,
        "key": sorted(pipeline.key),
        "max_future_seconds": pipeline.max_future.total_seconds(),
        "timezone": pipeline.timezone,
    }


def text_of(fingerprint: Mapping[str, Any]) -> str:
    """A fingerprint as the text that the table holds: equal for equal definitions."""
    return orjson.dumps(fingerprint, option=orjson.OPT_SORT_KEYS).decode()


def judging(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What decides what becomes of a record: all but the rollups."""
    return {name: value for name, value in fingerprint.items() if name != "rollups"}


def dating(fingerprint: Mapping[str, Any]) -> list[Any]:
    """What decides which events a record holds, and the date of each."""
    at = fingerprint["event_time"]
    kinds = [kind for name, kind in fingerprint["columns"] if name == at]
    return [fingerprint.get(name) for name in DATING] + kinds


def dating_of(pipeline: Pipeline) -> list[Any]:
    """``dating`` of a definition as it is."""
    return dating(_of_events(pipeline))


class Object(NamedTuple):
    """One thing of a definition that changes by itself: its kind, and its name among those of its kind."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


def objects(fingerprint: Mapping[str, Any]) -> dict[Object, Any]:
    """A definition by its objects, and what each says."""
    found: dict[Object, Any] = {Object(SINGLE[name], ""): fingerprint.get(name) for name in SINGLE}
    for name, kind in fingerprint["columns"]:
        found[Object("column", name)] = kind
    for name in fingerprint["required"]:
        found[Object("required", name)] = True
    for name, broken in fingerprint["rules"]:
        found[Object("rule", name)] = broken
    for name, rollup in fingerprint["rollups"].items():
        found[Object("rollup", name)] = {part: rollup[part] for part in ("by", "window")}
        for state, made in rollup["states"].items():
            measure = Object("measure", f"{name}.{measure_of(state)}")
            found.setdefault(measure, {})[state] = made
    return found


def measure_of(state: str) -> str:
    """The measure that a state column belongs to."""
    return state.rsplit("__", 1)[0]
