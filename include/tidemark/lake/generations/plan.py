"""What a definition asks of the existing tables: derived object by object, and shown before anything is done.

The kinds of change are those that SQLMesh's plans tell apart (https://sqlmesh.readthedocs.io, "Plans"), in our words.
"""

from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow.compute as pc
from deltalake import DeltaTable

from tidemark.core.days import Days, in_a_row
from tidemark.core.errors import TableError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.evolution import mismatched
from tidemark.lake.generations.begin import redefined
from tidemark.lake.generations.fingerprint import DATING, SINGLE, Object, fingerprinted, objects, text_of
from tidemark.lake.generations.history import Generation, History
from tidemark.lake.log import DateIndex
from tidemark.lake.publish import coverage
from tidemark.lake.snapshots import active_files, is_dated, open_table, position
from tidemark.lake.tables import Tables, tables_of
from tidemark.lake.transaction_ids import REFINE_APP, generation_app
from tidemark.quality import Suite


class Category(StrEnum):
    """What a change asks for."""

    NOTHING = "nothing to do"
    NEW_EVENTS = "new events only"
    REPROCESS = "reprocess"
    REFUSED = "refused"


class Change(NamedTuple):
    """One object that a definition has otherwise than the one in force."""

    object: Object
    change: str
    """``new``, ``back`` (it was there before, and went), ``gone`` or ``changed``."""
    category: Category
    what: str
    """What happens, or what to do."""


class Plan(NamedTuple):
    """What a definition asks for. ``generation``: of the definition in force; None before the streams have run."""

    generation: Generation | None
    changes: list[Change]
    due: list[Days]
    """Event dates that were judged otherwise than this definition judges, or lack a measure: a reprocess is due."""
    moves: bool
    """Whether events get other dates: a range that holds both the old and the new ones is needed, or ``--all``."""

    @property
    def is_refused(self) -> bool:
        """Whether the streams would not start with it."""
        return any(change.category is Category.REFUSED for change in self.changes)


def plan(pipeline: Pipeline, suite: Suite, settings: Settings) -> Plan:
    """Compare a definition with the one in force, object by object, and with what the tables were made by.

    Nothing is written. Without tables, there is nothing to compare with, and nothing to do.
    """
    try:
        history = History.of(pipeline, settings)
    except TableError:
        return Plan(None, [], [], moves=False)
    if history.last is None:
        return Plan(None, [], [], moves=False)
    tables = tables_of(pipeline, settings)
    silver, refine_log = open_table(tables.silver, settings), open_table(tables.refine_log, settings)
    found = _changes(history, fingerprinted(pipeline, suite), mismatched(tables.silver, silver))
    asking = [change.object.kind for change in found if change.category is Category.REPROCESS]
    due = _dates_with_events(silver, refine_log) if asking else _not_judged(silver, refine_log, history)
    due |= _lacking(pipeline, history, tables, settings)
    moves = any(SINGLE[name] in asking for name in DATING) or bool(
        due and history.dated_otherwise(pipeline, refine_log)
    )
    return Plan(history.last.generation, found, in_a_row(due), moves)


def changes(pipeline: Pipeline, suite: Suite, settings: Settings) -> list[Change]:
    """What a definition has otherwise than the one in force; dates are not looked at, so it costs little.

    Raises:
        TableError: the pipeline has no tables yet.
    """
    silver = tables_of(pipeline, settings).silver
    types = mismatched(silver, open_table(silver, settings))
    return _changes(History.of(pipeline, settings), fingerprinted(pipeline, suite), types)


def _changes(history: History, definition: dict[str, Any], types: dict[str, tuple[str, str]]) -> list[Change]:
    if history.last is None or history.last.text == text_of(definition):
        return []
    before, now = objects(history.last.definition), objects(definition)
    ever = history.versions()
    refused = redefined(history, definition)
    found = []
    for thing in dict.fromkeys([*now, *before]):
        is_there = thing in now
        is_refused = thing.kind in ("rollup", "measure") and thing.name in refused
        if is_there and before.get(thing) == now[thing] and not is_refused:
            continue
        if thing.kind == "measure" and not _rollup_stays(thing, before, now) and not is_refused:
            continue  # it comes or goes with its rollup
        if not is_there:
            change = "gone"
        elif thing in before:
            change = "changed"
        else:
            change = "back" if thing in ever else "new"
        found.append(Change(thing, change, *_consequence(thing, change, refused, types)))
    return found


def _rollup_stays(measure: Object, before: dict[Object, Any], now: dict[Object, Any]) -> bool:
    rollup = Object("rollup", measure.name.split(".", 1)[0])
    return rollup in before and rollup in now


def _consequence(
    thing: Object, change: str, refused: dict[str, list[str]], types: dict[str, tuple[str, str]]
) -> tuple[Category, str]:
    """What a change of an object asks for, and in words."""
    if thing.kind in ("rollup", "measure") and thing.name in refused:
        told = "; ".join(refused[thing.name])
        return Category.REFUSED, f"{told}: the tables hold it as it was; give it a new name"
    match thing.kind, change:
        case "rollup", "new":
            return Category.NOTHING, "rolled up from all of silver as the streams start"
        case "rollup", "back":
            return Category.NOTHING, "its tables are emptied and rolled up anew from all of silver as the streams start"
        case "rollup", "gone":
            return Category.NEW_EVENTS, "its tables stay as they are, and get no more events"
        case "measure", "gone":
            return Category.NEW_EVENTS, "its columns stay, without a value from now on"
        case "measure", _:
            return Category.REPROCESS, "no value in windows of events from before, until their dates are reprocessed"
        case "column", "gone":
            return Category.NEW_EVENTS, "its column stays with what it held, without a value from now on"
        case "column", _:
            if thing.name in types:
                return Category.REFUSED, "silver holds it as {}, and here it is {}: give it a new name".format(
                    *types[thing.name]
                )
            return Category.REPROCESS, "older rows have no value, until their dates are reprocessed"
    if thing.kind in {SINGLE[name] for name in DATING}:
        what = "new records are read by it at once; older events may have other dates: reprocess all of them (--all)"
        return Category.REPROCESS, what
    return Category.REPROCESS, "new records are judged by it at once, older ones when their dates are reprocessed"


def _dates_with_events(silver: DeltaTable, refine_log: DeltaTable) -> set[date]:
    """The dates of the events in the log as far as its index knows, and those that silver holds."""
    held = set(pc.unique(active_files(silver)["partition.event_date"]).to_pylist()) - {None}
    return held | _indexed(refine_log, position(silver, REFINE_APP))


def _not_judged(silver: DeltaTable, refine_log: DeltaTable, history: History) -> set[date]:
    """The dates that hold events from before the present way to judge, and were not reprocessed since."""
    judging = history.judging
    if judging.number == 0:
        return set()
    before = _indexed(refine_log, judging.after) | {
        file["partition.event_date"]
        for file in active_files(silver).select(["partition.event_date", "min.ingest_batch"]).to_pylist()
        if is_dated(file) and (file["min.ingest_batch"] is None or file["min.ingest_batch"] <= judging.after)
    }
    return {day for day in before if position(silver, generation_app(day)) < judging.number}


def _indexed(refine_log: DeltaTable, through: int) -> set[date]:
    return set(DateIndex.of(refine_log, []).dates(date.min, date.max, through))


def _lacking(pipeline: Pipeline, history: History, tables: Tables, settings: Settings) -> set[date]:
    """The dates that lack a measure which some rollup has gained."""
    missing: set[date] = set()
    for rollup in pipeline.rollups:
        if added := history.added(rollup):
            batch = open_table(tables.batch[rollup.name], settings)
            covered = {day: coverage(batch, day) for one in added for day in one.dates}
            missing |= {day for one in added for day in one.missing_dates(covered)}
    return missing
