"""Which definition judged which part of the log.

The refine stream notes, when it starts with another definition than the one before, from which ingest_batch on that
one holds. Rows that it wrote before were judged by an older *generation*; a reprocess brings them up to date.
With one generation, which is the rule, nothing of this costs anything.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from tidemark.definition import Pipeline, Rollup
from tidemark.delta import NOTHING, files_of, open_table, position, retry_conflicts, seal, transactions
from tidemark.errors import DefinitionError, TableError
from tidemark.log import Interval
from tidemark.publish import say_in_force
from tidemark.quality import Suite
from tidemark.settings import Settings
from tidemark.tables import GENERATION_APP, REFINE_APP, Table, Tables, tables_of

_NEWEST = 2**62
PARSER = 2
"""Version of the rules by which records become events; raise it with a change that judges any record otherwise.

1: JSON as Spark's ``from_json`` reads it. 2: exactly one JSON document, exact numbers, explicit formats of times.
"""


def deduplication_id(pipeline: Pipeline) -> str:
    """A name for what the refine stream remembers of events: another one where its digests of keys mean others.

    A query that went on with digests of another parser or key would take copies for new events, so each has a
    checkpoint location of its own. A new one is built up again from one deduplication horizon of bronze.
    """
    key = sorted([name, pipeline.events[name].sql] for name in pipeline.key)
    return hashlib.sha256(orjson.dumps([PARSER, key])).hexdigest()[:12]


class Generation(NamedTuple):
    """A definition: its number, counted from 0, and the ingest_batch after which it judged the log."""

    number: int
    after: int


def fingerprinted(pipeline: Pipeline, suite: Suite) -> dict[str, Any]:
    """Everything of a definition that decides what is written for a record, in plain values."""
    rollups = {
        rollup.name: {
            "by": list(rollup.by),
            "window": str(rollup.window),
            "states": {s.column: [s.type.sql, s.partial] for s in rollup.states(pipeline.events)},
        }
        for rollup in pipeline.rollups
    }
    return {
        "rollups": rollups,
        "parser": PARSER,
        "records": pipeline.records,
        "earliest": pipeline.earliest.isoformat(),
        "columns": [[column.name, column.type.sql] for column in pipeline.events],
        "event_time": pipeline.event_time,
        "key": sorted(pipeline.key),
        "required": sorted(pipeline.required),
        "max_future_seconds": pipeline.max_future.total_seconds(),
        "timezone": pipeline.timezone,
        "rules": sorted([rule.name, rule.broken] for rule in suite.rules if rule.action == "quarantine"),
    }


def _dating(definition: Mapping[str, Any]) -> list[Any]:
    """What of a definition decides which events a record holds, and the date of each."""
    at = definition["event_time"]
    kinds = [kind for name, kind in definition["columns"] if name == at]
    return [definition.get(name) for name in ("parser", "records", "event_time", "timezone")] + kinds


def dated_otherwise(pipeline: Pipeline, settings: Settings) -> list[Interval]:
    """The ingest_batches whose events got their dates from a definition that gives other dates than this one may.

    Another parser, form of records, event time, type of it, or zone. A key, a rule or a limit moves no event to another
    date.
    """
    rows = open_table(tables_of(pipeline, settings).generations, settings).to_pyarrow_dataset().to_table().to_pylist()
    rows.sort(key=lambda row: row["generation"])
    if not rows:
        return []  # nothing says that the definition was ever another one
    now = _dating(
        {
            "parser": PARSER,
            "records": pipeline.records,
            "event_time": pipeline.event_time,
            "timezone": pipeline.timezone,
            "columns": [[column.name, column.type.sql] for column in pipeline.events],
        }
    )
    ends = [row["after_ingest_batch"] for row in rows[1:]]
    # What was refined before the first row was refined by the definition of the first row, or by none that is known.
    begins = [row["after_ingest_batch"] + 1 for row in rows]
    return [
        Interval(begin, end)
        for row, begin, end in zip(rows, begins, [*ends, _NEWEST], strict=True)
        if begin <= end and _dating(orjson.loads(row["definition"])) != now
    ]


def current_generation(pipeline: Pipeline, suite: Suite, settings: Settings) -> Generation:
    """The generation of the running definition.

    Raises:
        TableError: the refine stream last ran with another definition; the message says what to do.
    """
    last, text = _last(pipeline, settings)
    if last is None:
        return Generation(0, NOTHING)
    if text != _text(fingerprinted(pipeline, suite)):
        raise TableError(
            f"the streams of {pipeline.name!r} run, or last ran, with another definition: restart them first, so that "
            f"old and new are told apart (what changed: {_difference(text, fingerprinted(pipeline, suite))})"
        )
    return last


def refuse_incompatible(pipeline: Pipeline, suite: Suite, settings: Settings) -> None:
    """Check, before anything is written, that rows of this definition may stand beside those of the last one.

    Raises:
        DefinitionError: a rollup of the same name has other keys or windows, or a measure of the same name other
            states; the message names all of them and the remedy.
    """
    try:
        last, text = _last(pipeline, settings)
    except TableError:
        return  # the tables are not there yet
    if last is not None:
        _refuse_redefined(pipeline, orjson.loads(text)["rollups"], fingerprinted(pipeline, suite)["rollups"])


def _refuse_redefined(pipeline: Pipeline, before: Mapping[str, Any], rollups: Mapping[str, Any]) -> None:
    problems = []
    for name, rollup in rollups.items():
        was = before.get(name, rollup)
        problems += [f"rollup {name!r} had other {part}" for part in ("by", "window") if was[part] != rollup[part]]
        problems += [
            f"rollup {name!r}: measure {state.rsplit('__', 1)[0]!r} was defined otherwise"
            for state, made in rollup["states"].items()
            if was["states"].get(state, made) != made
        ]
    if problems:
        remedy = (
            "old and new must not meet in one answer: give what has changed a new name, and reprocess the old dates"
        )
        raise DefinitionError(f"pipeline {pipeline.name!r}", [*problems, remedy])


@retry_conflicts
def begin_generation(pipeline: Pipeline, suite: Suite, settings: Settings) -> Generation:
    """Called by the refine stream as it starts: the generation of its definition, a new one where that has changed.

    Raises:
        DefinitionError: it does not go with what there is (``refuse_incompatible``).
        TableError: it has changed while a micro-batch was half done, which no single definition can finish.
    """
    tables = tables_of(pipeline, settings)
    table = tables.generations
    last, text = _last(pipeline, settings)
    definition = fingerprinted(pipeline, suite)
    judged = _text(definition)
    if last is not None and text == judged:
        _announce(tables, last.number, settings)  # whoever began it may have died before
        return last
    before: dict[str, Any] = orjson.loads(text)["rollups"] if last else {}
    _refuse_redefined(pipeline, before, definition["rollups"])
    new = {tables.speed[rollup.name].name for rollup in pipeline.rollups if last and rollup.name not in before}
    refined = [table for table in tables.refined if table.name not in new]
    positions = {table.name: position(open_table(table, settings), REFINE_APP) for table in refined}
    if last is not None and len(set(positions.values())) > 1:
        raise TableError(
            f"the refine stream of {pipeline.name!r} died in the middle of a micro-batch ({positions}), and its "
            "definition has changed since: run the streams once more with the definition before, then with this one"
        )
    begun = Generation(0 if last is None else last.number + 1, max(positions.values()))
    digest = hashlib.sha256(judged.encode()).hexdigest()
    added = _added(pipeline, before, settings)
    values = (*begun, digest, judged, datetime.now(UTC), orjson.dumps([a._asdict() for a in added]).decode())
    row = dict(zip(table.schema.names, values, strict=True))
    write_deltalake(
        open_table(table, settings),
        pa.Table.from_pylist([row], schema=table.schema),
        mode="append",
        commit_properties=transactions({GENERATION_APP: begun.number}),
    )
    _announce(tables, begun.number, settings)
    return begun


def _announce(tables: Tables, generation: int, settings: Settings) -> None:
    """Say in the log of each table that reprocesses publish to which definition is in force.

    From then on nothing that an older one made is published there (``tidemark.publish``).
    """
    for table in (tables.quarantine, tables.silver, *tables.batch.values()) if generation > 0 else ():
        say_in_force(table, generation, settings)


class Added(NamedTuple):
    """A measure that a rollup gained when its tables held rows: those of ``dates`` lack it where not covered since."""

    rollup: str
    measure: str
    segment: int
    dates: list[date]

    def lacking(self, coverage: Mapping[date, int]) -> set[date]:
        """The dates whose rows still lack it, by the segments through which the batch covers dates."""
        return {day for day in self.dates if coverage.get(day, NOTHING) < self.segment}


def added_measures(pipeline: Pipeline, rollup: Rollup, settings: Settings) -> list[Added]:
    """What a rollup has gained since its tables hold rows."""
    rows = open_table(tables_of(pipeline, settings).generations, settings).to_pyarrow_dataset().to_table(["added"])
    listed = [orjson.loads(text) for text in rows["added"].to_pylist() if text]
    every = [
        Added(**{**one, "dates": [date.fromisoformat(d) for d in one["dates"]]}) for some in listed for one in some
    ]
    return [one for one in every if one.rollup == rollup.name and one.measure in rollup.measures]


def _added(pipeline: Pipeline, before: Mapping[str, Any], settings: Settings) -> list[Added]:
    tables = tables_of(pipeline, settings)
    gained = []
    for rollup in pipeline.rollups:
        states = before.get(rollup.name, {}).get("states")
        for name, measure in rollup.measures.items() if states is not None else ():
            if any(state.column not in states for state in measure.states(name, pipeline.events)):
                gained.append((rollup.name, name))
    files = files_of(open_table(tables.silver, settings))
    dates = sorted(set(pc.unique(files["partition.event_date"]).to_pylist()) - {None})
    if not gained or not dates:
        return []
    # What was sealed before this may be covered yet by a reprocess that does not know the measure.
    segment = seal(tables, settings, leave_out=True).segment
    return [Added(*which, segment, dates) for which in gained]


def _last(pipeline: Pipeline, settings: Settings) -> tuple[Generation | None, str]:
    table: Table = tables_of(pipeline, settings).generations
    rows = open_table(table, settings).to_pyarrow_dataset().to_table().to_pylist()
    if not rows:
        return None, ""
    last = max(rows, key=lambda row: row["generation"])
    return Generation(last["generation"], last["after_ingest_batch"]), last["definition"]


def _text(judged: dict[str, Any]) -> str:
    return orjson.dumps(judged, option=orjson.OPT_SORT_KEYS).decode()


def _difference(text: str, judged: dict[str, Any]) -> str:
    before = orjson.loads(text)
    return ", ".join(sorted(name for name in judged if before.get(name) != orjson.loads(_text(judged))[name]))
