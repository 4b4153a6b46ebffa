"""The checks of a drained log: the account of every record, and speed against batch."""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from merge_golden import Cell, Cells, Golden, Kept, Violation, bronze_rows, day_of, difference, panes_of
from merge_world import RELIC, World

from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import Table
from tidemark.lake.transaction_ids import INGEST_APP, REFINE_APP


def drained(world: World, golden: Golden) -> bool:
    """Whether bronze holds all that was put and refine has passed it."""
    tables, settings = world.tables, world.settings
    golden.newest()
    if sum(batch.records for batch in golden.batches.values()) < len(golden.ledger):
        return False
    through = position(open_table(tables.bronze, settings), INGEST_APP)
    return all(position(open_table(table, settings), REFINE_APP) == through for table in tables.refined)


def check_account(world: World, golden: Golden) -> None:
    """Every record put is in bronze once, and in silver, in quarantine or counted as a duplicate, batch by batch."""
    tables = world.tables
    bronze = bronze_rows(_open(world, tables.bronze))
    places = Counter((row["shard_id"], row["sequence_number"]) for row in bronze)
    if places != Counter(golden.ledger.places()):
        raise Violation("1: records once", f"bronze holds {places.total()} records, {len(golden.ledger)} were put")
    now = Counter((row["ingest_batch"], row["segment"]) for row in bronze)
    if now != {(number, batch.segment): batch.records for number, batch in golden.batches.items()}:
        raise Violation("segments", "an ingest_batch holds other rows than when it was first read")
    silver = _rows(world, tables.silver, "ingest_batch", "segment")
    quarantine = Counter(
        (r["ingest_batch"], r["segment"]) for r in _rows(world, tables.quarantine, "ingest_batch", "segment")
    )
    wanted = {(number, batch.segment): batch.broken for number, batch in golden.batches.items() if batch.broken}
    if quarantine != wanted:
        raise Violation("4: nothing lost", f"quarantine holds {quarantine.total()} records, not {sum(wanted.values())}")
    kept = Counter(row["ingest_batch"] for row in silver)
    if kept != {number: batch.kept for number, batch in golden.batches.items() if batch.kept}:
        raise Violation("4: nothing lost", f"silver holds {kept.total()} rows, not {len(golden.kept)}, by ingest_batch")
    if moved := [row for row in silver if row["segment"] < golden.batches[row["ingest_batch"]].segment]:
        raise Violation("4: nothing lost", f"silver holds rows in a segment before their own: {moved[0]}")
    log = {row.pop("ingest_batch"): row for row in _rows(world, tables.refine_log, "ingest_batch", *_ACCOUNT)}
    for number, batch in golden.batches.items():
        account = (batch.segment, batch.records, batch.kept, batch.broken, batch.duplicates)
        if number not in log or tuple(log[number][name] for name in _ACCOUNT) != account:
            raise Violation("4: nothing lost", f"batch {number} is accounted for as {log.get(number)}, not {account}")
    if len(log) != len(golden.batches):
        raise Violation("4: nothing lost", f"the refine log knows {len(log)} batches of {len(golden.batches)}")


def check_tightened(world: World, golden: Golden) -> None:
    """After a reprocess by a stricter definition: silver without relics, whose records are in quarantine, once each."""
    relics = {kept.place for kept in golden.kept.values() if kept.event.kind == RELIC}
    silver = Counter(row["event_id"] for row in _rows(world, world.tables.silver, "event_id"))
    if silver != Counter(key for key, kept in golden.kept.items() if kept.event.kind != RELIC):
        raise Violation("4: nothing lost", f"silver holds {silver.total()} rows of the stricter definition")
    rows = _rows(world, world.tables.quarantine, "shard_id", "sequence_number")
    held = Counter((row["shard_id"], row["sequence_number"]) for row in rows)
    if held.total() != len(held) or not relics <= held.keys():
        lost = len(relics - held.keys())
        raise Violation("4: nothing lost", f"{lost} of {len(relics)} relics, which silver lost, are not in quarantine")


_ACCOUNT = ("segment", "records", "silver", "quarantined", "duplicates")


def check_layers(world: World, golden: Golden) -> int:
    """Speed and batch hold equal panes over the same segments; returns how many segments of dates were compared.

    Of a date that the batch covers through a segment, the batch's panes are those of all events until there, and beyond
    it the speed table holds all. What the speed table still has of covered segments is right, too: folding may have
    removed some, and have merged some into the highest of them.
    """
    tables = world.tables
    compared = 0
    for rollup in world.pipeline.rollups:
        batch_rows = _rows(world, tables.batch[rollup.name])
        speed_rows = _rows(world, tables.speed[rollup.name])
        covered = {row["event_date"]: row["covered_segment"] for row in batch_rows}
        for day in {*covered, *(day_of(kept.event) for kept in golden.kept.values())}:
            through = covered.get(day, -1)
            of_day = _Day([kept for kept in golden.kept.values() if day_of(kept.event) == day], rollup.name)
            found = _panes(row for row in batch_rows if row["event_date"] == day and row["pane_start"] is not None)
            if wrong := of_day.difference(found, -1, through):
                raise Violation("3: agreement", f"batch_{rollup.name}, {day} through segment {through}: {wrong}")
            speed = [row for row in speed_rows if row["event_date"] == day]
            beyond = _panes(row for row in speed if row["segment"] > through)
            if wrong := of_day.difference(beyond, through, max(golden.segments)):
                raise Violation("3: agreement", f"speed_{rollup.name}, {day} beyond segment {through}: {wrong}")
            last = -1
            for segment in sorted({row["segment"] for row in speed if row["segment"] <= through}):
                left = _panes(row for row in speed if row["segment"] == segment)
                if all(of_day.difference(left, after, segment) for after in range(last, segment)):
                    wrong = of_day.difference(left, segment - 1, segment)
                    raise Violation("3: agreement", f"speed_{rollup.name}, {day}, segment {segment}: {wrong}")
                last = segment
                compared += 1
    return compared


class _Day:
    """The events of one date by segment."""

    def __init__(self, kept: list[Kept], rollup: str) -> None:
        self._kept = kept
        self._rollup = rollup

    def difference(self, found: Cells, after: int, through: int) -> str:
        """How panes differ from those of the segments ``(after, through]``; empty where they do not."""
        wanted = (kept.event for kept in self._kept if after < kept.segment <= through)
        return difference(found, panes_of(wanted, self._rollup))


def _panes(rows: Iterable[dict[str, Any]]) -> Cells:
    """Partial aggregates merged by key and pane."""
    cells: Cells = {}
    for row in rows:
        cell = Cell(
            row["events__count"], row["valued__count"], int(row["units__sum"]), row["revenue__sum"], row["least__min"],
            row["most__max"], row["max_event_time"],
        )  # fmt: skip
        key = (row["event"], row["pane_start"])
        cells[key] = _merged(cells[key], cell) if key in cells else cell
    return cells


def _merged(a: Cell, b: Cell) -> Cell:
    def present(*values: Decimal | None) -> list[Decimal]:
        return [value for value in values if value is not None]

    return Cell(
        a.events + b.events,
        a.valued + b.valued,
        a.units + b.units,
        sum(present(a.revenue, b.revenue)) if present(a.revenue, b.revenue) else None,  # type: ignore[arg-type]
        min(present(a.least, b.least), default=None),
        max(present(a.most, b.most), default=None),
        max(a.newest, b.newest),
    )


def _open(world: World, table: Table) -> DeltaTable:
    return open_table(table, world.settings)


def _rows(world: World, table: Table, *columns: str) -> list[dict[str, Any]]:
    rows: pa.Table = _open(world, table).to_pyarrow_dataset().to_table(columns=list(columns) or None)
    return rows.to_pylist()  # type: ignore[no-any-return]
