"""Beginning a generation: what the refine stream does as it starts, and what a batch job checks before it works."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from tidemark.core.errors import DefinitionError, TableError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.commits import retry_conflicts, transactions
from tidemark.lake.generations.fingerprint import fingerprinted, measure_of, text_of
from tidemark.lake.generations.history import Added, Generation, History
from tidemark.lake.log import seal
from tidemark.lake.publish import say_in_force
from tidemark.lake.snapshots import NOTHING, active_files, open_table, position
from tidemark.lake.tables import Tables, tables_of
from tidemark.lake.transaction_ids import BEGUN_APP, GENERATION_APP, REFINE_APP
from tidemark.quality import Suite


def current_generation(pipeline: Pipeline, suite: Suite, settings: Settings) -> Generation:
    """The generation of the running definition.

    Raises:
        TableError: the refine stream last ran with another definition; the message says what to do.
    """
    last = History.of(pipeline, settings).last
    if last is None:
        return Generation(0, NOTHING)
    definition = fingerprinted(pipeline, suite)
    if last.text != text_of(definition):
        raise TableError(
            f"the streams of {pipeline.name!r} run, or last ran, with another definition: restart them first, so that "
            f"old and new are told apart (what changed: {_difference(last.definition, definition)}; see `tidemark plan "
            f"{pipeline.name}`)"
        )
    return last.generation


def refuse_incompatible(pipeline: Pipeline, suite: Suite, settings: Settings) -> None:
    """Check, before anything is written, that rows of this definition may stand beside those of all before it.

    Raises:
        DefinitionError: a rollup of the same name had other keys or windows when it was last there, or a measure of the
            same name other states; the message names all of them and the remedy.
    """
    try:
        history = History.of(pipeline, settings)
    except TableError:
        return  # the tables are not there yet
    _refuse_redefined(pipeline, history, fingerprinted(pipeline, suite))


def _refuse_redefined(pipeline: Pipeline, history: History, definition: Mapping[str, Any]) -> None:
    if found := redefined(history, definition):
        problems = [problem for some in found.values() for problem in some]
        remedy = (
            "old and new must not meet in one answer: give what has changed a new name, and reprocess the old dates"
        )
        raise DefinitionError(f"pipeline {pipeline.name!r}", [*problems, remedy])


def redefined(history: History, definition: Mapping[str, Any]) -> dict[str, list[str]]:
    """By rollup (a name) and measure (``rollup.measure``), what it says otherwise than the newest one of that name."""
    problems: dict[str, list[str]] = {}
    for name, rollup in definition["rollups"].items():
        was = history.newest(name) or rollup
        for part in ("by", "window"):
            if was[part] != rollup[part]:
                problems.setdefault(name, []).append(f"rollup {name!r} had other {part}")
        held = history.newest_states(name)
        for measure in dict.fromkeys(
            measure_of(state) for state, made in rollup["states"].items() if held.get(state, made) != made
        ):
            told = f"rollup {name!r}: measure {measure!r} was defined otherwise"
            problems.setdefault(f"{name}.{measure}", []).append(told)
    return problems


@retry_conflicts
def begin_generation(pipeline: Pipeline, suite: Suite, settings: Settings) -> Generation:
    """Called by the refine stream as it starts: the generation of its definition, a new one where that has changed.

    Raises:
        DefinitionError: it does not go with what there is (``refuse_incompatible``).
        TableError: it has changed while a micro-batch was half done, which no single definition can finish.
    """
    tables = tables_of(pipeline, settings)
    table = tables.generations
    snapshot = open_table(table, settings)
    history = History.of(pipeline, settings)
    last = history.last
    definition = fingerprinted(pipeline, suite)
    judged = text_of(definition)
    if last is not None and last.text == judged:
        _announce(tables, last.generation.number, settings)  # whoever began it may have died before
        return last.generation
    before: dict[str, Any] = last.definition["rollups"] if last else {}
    _refuse_redefined(pipeline, history, definition)
    new = {
        tables.speed[rollup.name].name
        for rollup in pipeline.rollups
        if last and (rollup.name not in before or lacks_history(tables, rollup.name, history, settings))
    }
    refined = [table for table in tables.refined if table.name not in new]
    positions = {table.name: position(open_table(table, settings), REFINE_APP) for table in refined}
    if last is not None and len(set(positions.values())) > 1:
        raise TableError(
            f"the refine stream of {pipeline.name!r} died in the middle of a micro-batch ({positions}), and its "
            "definition has changed since: run the streams once more with the definition before, then with this one"
        )
    begun = Generation(0 if last is None else last.generation.number + 1, max(positions.values()))
    digest = hashlib.sha256(judged.encode()).hexdigest()
    added = _added(pipeline, before, settings)
    values = (*begun, digest, judged, datetime.now(UTC), orjson.dumps([a._asdict() for a in added]).decode())
    row = dict(zip(table.schema.names, values, strict=True))
    write_deltalake(
        snapshot,
        pa.Table.from_pylist([row], schema=table.schema),
        mode="append",
        commit_properties=transactions({GENERATION_APP: begun.number}),
    )
    _announce(tables, begun.number, settings)
    return begun


def lacks_history(tables: Tables, rollup: str, history: History, settings: Settings) -> bool:
    """Whether a rollup that is new, or back, was not rolled up from what silver holds yet."""
    speed, batch = (open_table(some[rollup], settings) for some in (tables.speed, tables.batch))
    came_back = history.came_back(rollup)
    if came_back is not None and min(position(table, BEGUN_APP) for table in (speed, batch)) < came_back:
        return True
    return position(speed, REFINE_APP) == NOTHING != position(open_table(tables.silver, settings), REFINE_APP)


def _announce(tables: Tables, generation: int, settings: Settings) -> None:
    """Say in the log of each table that reprocesses publish to which definition is in force.

    From then on nothing that an older one made is published there (``tidemark.lake.publish``).
    """
    for table in (tables.quarantine, tables.silver, *tables.batch.values()) if generation > 0 else ():
        say_in_force(table, generation, settings)


def _added(pipeline: Pipeline, before: Mapping[str, Any], settings: Settings) -> list[Added]:
    tables = tables_of(pipeline, settings)
    gained = []
    for rollup in pipeline.rollups:
        states = before.get(rollup.name, {}).get("states")
        for name, measure in rollup.measures.items() if states is not None else ():
            if any(state.column not in states for state in measure.states(name, pipeline.event_schema)):
                gained.append((rollup.name, name))
    files = active_files(open_table(tables.silver, settings))
    dates = sorted(set(pc.unique(files["partition.event_date"]).to_pylist()) - {None})
    if not gained or not dates:
        return []
    # What was sealed before this may be covered yet by a reprocess that does not know the measure.
    segment = seal(tables, settings, leave_out=True).segment
    return [Added(*which, segment, dates) for which in gained]


def _difference(before: Mapping[str, Any], definition: Mapping[str, Any]) -> str:
    now = orjson.loads(text_of(definition))
    return ", ".join(sorted(name for name in now if before.get(name) != now[name]))
