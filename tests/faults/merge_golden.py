"""What must be true, recomputed in plain Python from the producer's ledger and the order of bronze's log.

Nothing here uses the product's parsing, SQL or merging: what a record says is known from the ledger; bronze says only
where in the log it stands. Within an ingest_batch the log runs shard by shard, and by sequence number within a shard.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from merge_ledger import Event, Ledger, Place
from merge_world import MICROS_A_DAY, moment

HOUR = 3_600_000_000
WINDOWS = {"sliding": (6 * HOUR, 3 * HOUR), "daily": (MICROS_A_DAY, MICROS_A_DAY)}
"""Length and slide of each rollup, in microseconds."""
ALLOWED_LATENESS = timedelta(minutes=10)


class Violation(Exception):
    """An invariant does not hold; ``check`` names it."""

    def __init__(self, check: str, what: str) -> None:
        super().__init__(f"[{check}] {what}")
        self.check = check


class Cell(NamedTuple):
    """One key and window."""

    events: int
    valued: int
    units: int
    revenue: Decimal | None
    least: Decimal | None
    most: Decimal | None
    newest: datetime


Key = tuple[str, datetime]
Cells = dict[Key, Cell]


class Prefix(NamedTuple):
    """The answers of all rollups when the log had come to some position, and what became of its records."""

    cells: dict[str, Cells]
    newest: datetime | None
    keys: int
    broken: int


class Batch(NamedTuple):
    """One ingest_batch: its segment, and the account of its records."""

    segment: int
    records: int
    kept: int
    broken: int

    @property
    def duplicates(self) -> int:
        return self.records - self.kept - self.broken


class Kept(NamedTuple):
    """The first valid copy of an event."""

    event: Event
    place: Place
    ingest_batch: int
    segment: int


class Golden:
    """Follows bronze's log and knows the right answer at each position."""

    def __init__(self, ledger: Ledger, bronze_uri: str) -> None:
        self.ledger = ledger
        self.batches: dict[int, Batch] = {}
        self.kept: dict[str, Kept] = {}
        self._uri = bronze_uri
        self._lock = threading.Lock()
        self._places: set[Place] = set()
        self._newest = -1
        self._prefixes = {-1: Prefix({name: {} for name in WINDOWS}, None, 0, 0)}

    def at(self, position: int) -> Prefix:
        """The prefix of the log that ends with an ingest_batch; raises Violation where bronze has no such one."""
        with self._lock:
            if position > self._newest:
                self._follow()
            if position not in self._prefixes:
                raise Violation("positions", f"an answer states position {position}, bronze is at {self._newest}")
            return self._prefixes[position]

    def newest(self) -> int:
        """The last position of bronze."""
        with self._lock:
            self._follow()
            return self._newest

    @property
    def segments(self) -> set[int]:
        """The segments of the log."""
        return {batch.segment for batch in self.batches.values()}

    def positions(self, first: int) -> Iterator[int]:
        """The known positions from one on."""
        with self._lock:
            known = sorted(position for position in self._prefixes if position >= first)
        yield from known

    def _follow(self) -> None:
        rows = bronze_rows(DeltaTable(self._uri), after=self._newest)
        for number in sorted({row["ingest_batch"] for row in rows}):
            self._take(number, [row for row in rows if row["ingest_batch"] == number])

    def _take(self, number: int, rows: list[dict[str, Any]]) -> None:
        segments = {row["segment"] for row in rows}
        before = self.batches[self._newest].segment if self._newest >= 0 else 0
        if len(segments) != 1 or min(segments) < before:
            raise Violation("segments", f"ingest_batch {number} has segments {segments} after segment {before}")
        last = self._prefixes[self._newest]
        cells = {name: dict(of) for name, of in last.cells.items()}
        newest, broken, kept = last.newest, last.broken, 0
        for row in rows:
            event = self._event(row)
            if event is None:
                broken += 1
            elif event.key not in self.kept:
                kept += 1
                place = (row["shard_id"], row["sequence_number"])
                self.kept[event.key] = Kept(event, place, number, row["segment"])
                newest = max(newest or moment(event.at), moment(event.at))
                for name, of in cells.items():
                    add(of, event, *WINDOWS[name])
        self.batches[number] = Batch(segments.pop(), len(rows), kept, broken - last.broken)
        self._prefixes[number] = Prefix(cells, newest, last.keys + kept, broken)
        self._newest = number

    def _event(self, row: dict[str, Any]) -> Event | None:
        place = (row["shard_id"], row["sequence_number"])
        record = self.ledger.find(place)
        if record is None:
            raise Violation("1: records once", f"bronze holds {place}, which nobody put")
        if place in self._places:
            raise Violation("1: records once", f"bronze holds {place} twice, again in batch {row['ingest_batch']}")
        if record.data != row["data"]:
            raise Violation("1: records once", f"bronze holds other bytes at {place} than were put")
        self._places.add(place)
        return record.event


def bronze_rows(bronze: DeltaTable, after: int = -1) -> list[dict[str, Any]]:
    """Rows beyond a position, in log order."""
    columns = ["data", "shard_id", "sequence_number", "sub_sequence_number", "ingest_batch", "segment"]
    table: pa.Table = bronze.to_pyarrow_dataset().to_table(columns=columns, filter=ds.field("ingest_batch") > after)
    rows: list[dict[str, Any]] = table.to_pylist()
    rows.sort(
        key=lambda r: (r["ingest_batch"], r["shard_id"], int(r["sequence_number"]), r["sub_sequence_number"]),
    )
    return rows


def add(cells: Cells, event: Event, length: int, slide: int) -> None:
    """Count an event in each window ``[start, start + length)`` that it belongs to; windows start every ``slide``."""
    value, at = event.value, moment(event.at)
    last = event.at - event.at % slide
    for start in range(last, last - length, -slide):
        key = (event.kind, moment(start))
        old = cells.get(key)
        if old is None:
            cells[key] = Cell(1, int(value is not None), event.units, value, value, value, at)
            continue
        cells[key] = Cell(
            old.events + 1,
            old.valued + (value is not None),
            old.units + event.units,
            _fold(old.revenue, value, lambda a, b: a + b),
            _fold(old.least, value, min),
            _fold(old.most, value, max),
            max(old.newest, at),
        )


def _fold(old: Decimal | None, new: Decimal | None, merge: Any) -> Decimal | None:
    if old is None or new is None:
        return new if old is None else old
    merged: Decimal = merge(old, new)
    return merged


def cells_of(events: Iterable[Event], rollup: str) -> Cells:
    """The answer over some events."""
    cells: Cells = {}
    for event in events:
        add(cells, event, *WINDOWS[rollup])
    return cells


def panes_of(events: Iterable[Event], rollup: str) -> Cells:
    """The partial aggregates over some events: windows of one pane."""
    slide = WINDOWS[rollup][1]
    cells: Cells = {}
    for event in events:
        add(cells, event, slide, slide)
    return cells


def day_of(event: Event) -> date:
    """The event date, in UTC."""
    day: date = moment(event.at).date()
    return day


def difference(got: Cells, wanted: Cells) -> str:
    """In one line how two answers differ; empty where they do not."""
    wrong = [key for key in {*got, *wanted} if got.get(key) != wanted.get(key)]
    if not wrong:
        return ""
    events = Counter({"got": 0, "wanted": 0})
    for key in wrong:
        events["got"] += got[key].events if key in got else 0
        events["wanted"] += wanted[key].events if key in wanted else 0
    shown = "; ".join(
        f"{kind} {start:%m-%d %H:%M}: got {_shown(got.get(kind_start))}, wanted {_shown(wanted.get(kind_start))}"
        for kind_start in sorted(wrong)[:3]
        for kind, start in [kind_start]
    )
    return f"{len(wrong)} cells of {len(wanted)} differ ({events['got']} events, not {events['wanted']}): {shown}"


def _shown(cell: Cell | None) -> str:
    return "none" if cell is None else f"{cell.events}/{cell.units}/{cell.revenue}"
