"""Publishing staged files: one Delta commit that removes what is replaced and adds what was staged and checked.

The write-audit-publish pattern (Netflix's name for it): files are written below the table's folder without a commit, so
that no reader sees them; they are checked; then one commit of the table's log swaps them in. A commit that lost to
another one is tried again from the newest snapshot, where that is right: the files are written already, so a retry
costs one commit. What was staged and never published is removed by VACUUM, as it belongs to no version.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from tidemark.core.errors import CoverageError, DefinitionChangedError, TableError
from tidemark.core.settings import Settings
from tidemark.lake.commits import retry_conflicts, set_transactions, transactions
from tidemark.lake.files.data_files import StagedFile, file_system, now_ms
from tidemark.lake.snapshots import NOTHING, active_files, is_dated, open_table, position
from tidemark.lake.tables import Table
from tidemark.lake.transaction_ids import (
    COVERAGE_APP,
    DEFINITION_APP,
    clustered_app,
    covered_app,
    folded_app,
    generation_app,
)


@retry_conflicts
def publish_dates(
    table: Table,
    staged: Sequence[StagedFile],
    days: Iterable[date],
    segment: int,
    settings: Settings,
    versions: Mapping[str, int] | None = None,
    *,
    everything: bool = False,
    generation: int = 0,
) -> list[date]:
    """Replace event dates through a sealed segment by staged files, in one commit. Returns the dates published.

    Of a table by segment only the partitions up to ``segment`` are replaced. A date that another run has covered
    further meanwhile is left as it is: that answer holds all of this one. Each date's coverage is a compare-and-set, so
    two runs on one date publish one after the other, in whichever order, and the higher coverage stays.

    ``everything``: files whose date can be no event's, beyond the years 1 to 9999, are removed too. A table may have
    them from before such dates were refused, and no range can name them.

    ``generation``: that of the definition which made the rows; it is part of the commit, and a compare-and-set too.

    Raises:
        CoverageError: speed rows of a date were folded beyond ``segment`` while the reprocess ran; nothing was changed.
        DefinitionChangedError: the streams have begun a newer generation since; nothing was changed.
        TableError: a staged file is not there any more; nothing was changed.
    """
    snapshot = open_table(table, settings)
    in_force = _still_in_force(snapshot, table, generation)
    _refuse_missing(snapshot, table, staged)
    by_segment = "segment" in table.partition_by
    chosen = [day for day in days if position(snapshot, covered_app(day)) <= segment]
    # Each look-up reads the log, so a table is asked only for what it may have: folding marks batch tables.
    folded = [] if by_segment else [day for day in chosen if position(snapshot, folded_app(day)) > segment]
    if folded:
        raise CoverageError(
            f"{table.name}: speed rows of {folded[0]} were folded beyond segment {segment} while this reprocess ran, "
            "which took longer than the grace period of folding: run it again, and give `tidemark compact` a longer one"
        )
    files = active_files(snapshot).to_pylist()
    wanted: set[date | None] = set(chosen)
    if everything and not all(map(is_dated, files)):
        wanted.add(None)
    if not wanted:
        return []
    removed = [
        _remove(table, file)
        for file in files
        if file["partition.event_date"] in wanted and (not by_segment or file["partition.segment"] <= segment)
    ]
    added = [file.add() for file in staged if date.fromisoformat(file.partition["event_date"]) in wanted]
    kept = {app: max(version, position(snapshot, app)) for app, version in (versions or {}).items()}
    covered = {covered_app(day): segment for day in chosen}
    laid_out = [day for day in chosen if position(snapshot, clustered_app(day)) != NOTHING] if by_segment else []
    clustered = {clustered_app(day): NOTHING for day in laid_out}
    _commit(snapshot, table, [*removed, *added], {**kept, **covered, **clustered, **in_force, **_next_change(snapshot)})
    return chosen


@retry_conflicts
def say_in_force(table: Table, generation: int, settings: Settings) -> None:
    """Say in a table's log that rows of older generations of the definition are not published there any more."""
    snapshot = open_table(table, settings)
    if position(snapshot, DEFINITION_APP) < generation:
        set_transactions(snapshot, {DEFINITION_APP: generation})


def _still_in_force(snapshot: DeltaTable, table: Table, generation: int) -> dict[str, int]:
    """The identifier that a commit of a generation's rows carries. delta-rs fails the second of two that set one."""
    newest = position(snapshot, DEFINITION_APP)
    if newest > generation:
        raise DefinitionChangedError(
            f"{table.name}: the streams began another definition (generation {newest}) while this run worked by "
            f"generation {generation}: nothing more of it is published. Run it again with the definition of the streams"
        )
    return {DEFINITION_APP: generation}


def _refuse_missing(snapshot: DeltaTable, table: Table, staged: Sequence[StagedFile]) -> None:
    """Check that what a commit adds is there: a table with a missing file cannot be read at all."""
    found = file_system(snapshot).get_file_info([file.path for file in staged]) if staged else []
    lost = [file.path for file, info in zip(staged, found, strict=True) if info.size != file.size]
    if lost:
        raise TableError(
            f"{table.name}: {len(lost):,} of {len(staged):,} staged files are not there as they were written, such as "
            f"{lost[0]}; nothing was published. Did a VACUUM with a short retention take them? Run it again"
        )


@retry_conflicts
def mark_judged(silver: Table, days: Iterable[date], generation: int, settings: Settings) -> None:
    """Say in silver's log that the event dates were judged by a generation of the definition; never an older one."""
    snapshot = open_table(silver, settings)
    marks = {app: generation for day in days if position(snapshot, app := generation_app(day)) < generation}
    if marks:
        set_transactions(snapshot, marks)


@retry_conflicts
def claim_folding(table: Table, covered: Mapping[date, int], folded: Mapping[date, int], settings: Settings) -> bool:
    """Say in a batch table's log through which segment each date's speed rows will be folded; False if too late.

    From then on nothing is published that covers a date in the middle of what was folded. ``covered``: the coverage by
    which the folding was planned; if it has changed, so must the plan.
    """
    snapshot = open_table(table, settings)
    if any(coverage(snapshot, day) != segment for day, segment in covered.items()):
        return False
    marks = {folded_app(day): max(segment, position(snapshot, folded_app(day))) for day, segment in folded.items()}
    set_transactions(snapshot, {**marks, **_next_change(snapshot)})
    return True


def coverage(batch: DeltaTable, day: date) -> int:
    """The segment through which a snapshot of a batch table covers a date; ``NOTHING`` where it does not."""
    return position(batch, covered_app(day))


def _next_change(snapshot: DeltaTable) -> dict[str, int]:
    # Of two commits with one identifier the second fails, so whatever was decided by a coverage is decided again.
    return {COVERAGE_APP: position(snapshot, COVERAGE_APP) + 1}


def add_files(table: Table, staged: Sequence[StagedFile], versions: Mapping[str, int], settings: Settings) -> bool:
    """Add staged files to a table that has come to none of these positions yet; False if it has."""

    @retry_conflicts
    def commit() -> bool:
        snapshot = open_table(table, settings)
        _refuse_missing(snapshot, table, staged)
        if any(position(snapshot, app) != NOTHING for app in versions):
            return False
        _commit(snapshot, table, [file.add() for file in staged], versions)
        return True

    return commit()


def replace_files(
    table: Table,
    staged: Sequence[StagedFile],
    replaced: Callable[[Mapping[str, Any]], bool],
    expected: Iterable[str],
    settings: Settings,
    counter: tuple[str, int] | None = None,
    versions: Mapping[str, int] | None = None,
    generation: int | None = None,
) -> bool:
    """Replace exactly the files ``expected`` by staged ones, in one commit; False, and nothing done, if that fails.

    ``replaced`` chooses the files of a snapshot, by their add actions. If it chooses others than were read when the
    staged rows were made, another run has rewritten them, and what was staged is out of date. So it is where the
    transaction of ``counter`` is not at its version any more; the commit counts it up by one.

    Raises:
        DefinitionChangedError: ``generation``, by which the rows were made, is not the newest; nothing was changed.
        TableError: a staged file is not there any more; nothing was changed.
    """

    @retry_conflicts
    def commit() -> bool:
        snapshot = open_table(table, settings)
        in_force = {} if generation is None else _still_in_force(snapshot, table, generation)
        _refuse_missing(snapshot, table, staged)
        files = [file for file in active_files(snapshot).to_pylist() if replaced(file)]
        if {file["path"] for file in files} != set(expected):
            return False
        if counter and position(snapshot, counter[0]) != counter[1]:
            return False
        actions: list[AddAction | RemoveAction] = [*(_remove(table, f) for f in files), *(f.add() for f in staged)]
        counted = {counter[0]: counter[1] + 1} if counter else {}
        _commit(snapshot, table, actions, {**(versions or {}), **counted, **in_force})
        return True

    return commit()


def _commit(
    snapshot: DeltaTable, table: Table, actions: list[AddAction | RemoveAction], versions: Mapping[str, int]
) -> None:
    snapshot.create_write_transaction(
        actions, "append", table.schema, list(table.partition_by), commit_properties=transactions(versions)
    )


def _remove(table: Table, file: Mapping[str, Any]) -> RemoveAction:
    told = dict(part.split("=", 1) for part in unquote(file["path"]).split("/") if "=" in part)
    partition = {name: _partition_text(file[f"partition.{name}"]) or told.get(name) for name in table.partition_by}
    return RemoveAction(file["path"], True, now_ms(), file["size_bytes"], partition)


def _partition_text(value: object) -> str | None:
    return None if value is None else value.isoformat() if isinstance(value, date) else str(value)
