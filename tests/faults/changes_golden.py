"""What the tables must hold after any sequence of records, definitions and reprocesses: a model in plain Python.

It follows the promises that the documentation makes (docs/operations/definitions.md): the stream judges what
comes by the definition in force and keeps the first copy of a key; a reprocess of dates puts the first copies under the
definition in force in the place of what these dates held; other dates stay as they were judged. It shares no code with
the product, and reads records by other parsers (``changes_parser``).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from changes_definition import KINDS, Definition, Shape
from changes_parser import Wrong, day, decimal, integer, said_by, string, timestamp

MAX_FUTURE = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Place = tuple[str, int]
"""An event: its record's sequence number, and its ordinal there; -1: it is all of the record."""


class Sent(NamedTuple):
    """A record in the log."""

    sequence: str
    data: bytes
    arrival: datetime


class Row(NamedTuple):
    """A valid event, as some definition reads it."""

    event: Place
    key: tuple[Any, ...]
    date: date
    batch: int
    kind: Any
    times: dict[str, datetime | None]
    """``at`` and ``sent``; one of them is the event time."""
    money: Decimal | None
    units: int | None


class Account(NamedTuple):
    """What became of an ingest_batch, as the stream saw it."""

    records: int
    events: int
    silver: int
    quarantined: int
    duplicates: int


@dataclass
class Rolled:
    """A rollup's rows, each with the event time and the zone by which its pane was made; dates that lack a measure."""

    rows: dict[Place, tuple[Row, tuple[str, str]]] = field(default_factory=dict)
    lacking: dict[str, set[date]] = field(default_factory=dict)


@dataclass
class Memory:
    """What a deduplication remembers, and the ingest_batch through which it has read."""

    through: int = -1
    keys: set[tuple[Any, ...]] = field(default_factory=set)


class Golden:
    """The tables as they must be."""

    def __init__(self) -> None:
        self.log: list[list[Sent]] = []
        self.refined = -1
        self.silver: dict[Place, Row] = {}
        self.rolled: dict[str, Rolled] = {}
        self.accounts: dict[int, Account] = {}
        self.history: list[Definition] = []
        self._memories: dict[tuple[str, ...], Memory] = {}
        self._never_valid: set[Place] = set()
        self._read: dict[tuple[Any, int], list[tuple[Place, Row | None]]] = {}

    @property
    def definition(self) -> Definition:
        return self.history[-1]

    def begin(self, definition: Definition) -> None:
        """The streams start with a definition that ``is_refused`` lets pass."""
        before = self.history[-1] if self.history else None
        if before == definition:
            return
        # What was refined before may have been taken for copies by this definition's reprocesses.
        self._never_valid -= {
            row.event for n in range(self.refined + 1) for _, row in self._read_by(definition, n) if row is not None
        }
        if before and before.holds != definition.holds:
            # The same events have other numbers: those of before are nowhere after the next reprocess of everything.
            self._never_valid = {
                event for n in range(self.refined + 1) for event, row in self._read_by(definition, n) if row is None
            }
        dates = {row.date for row in self.silver.values()}
        for name, shape in definition.rollups.items():
            was = before.rollups.get(name) if before else None
            if before is None or was is None:
                self.rolled[name] = Rolled({event: (row, definition.dating) for event, row in self.silver.items()})
            else:
                for measure in set(shape.measures) - set(was.measures):
                    self.rolled[name].lacking.setdefault(measure, set()).update(dates)
        self.history.append(definition)

    def is_refused(self, definition: Definition) -> bool:
        """Whether a rollup or a measure of a name means something else than when it was last there."""
        for name, shape in definition.rollups.items():
            former = [d.rollups[name] for d in reversed(self.history) if name in d.rollups]
            if former and (former[0].by, former[0].length, former[0].slide) != (shape.by, shape.length, shape.slide):
                return True
            summed = next((f.revenue_of for f in former if "money" in f.measures), None)
            if "money" in shape.measures and summed not in (None, shape.revenue_of):
                return True
        return False

    def refine(self) -> None:
        """The refine stream passes all of the log."""
        memory = self._memories.setdefault(self.definition.key, Memory())
        for number in range(memory.through + 1, len(self.log)):
            events = self.read(number)
            kept = broken = 0
            for event, row in events:
                if row is None:
                    broken += 1
                    if number > self.refined:
                        self._never_valid.add(event)
                elif row.key not in memory.keys:
                    memory.keys.add(row.key)
                    kept += 1
                    if number > self.refined:
                        self.silver[event] = row
                        for name in self.definition.rollups:
                            self.rolled[name].rows[event] = (row, self.definition.dating)
            if number > self.refined:
                self.accounts[number] = Account(
                    len(self.log[number]), len(events), kept, broken, len(events) - kept - broken
                )
        memory.through = self.refined = len(self.log) - 1

    def lose_checkpoint(self) -> None:
        """The deduplication is built up again from bronze when the stream starts next."""
        self._memories.pop(self.definition.key, None)

    def reprocess(self, start: date, end: date) -> None:
        """The dates ``[start, end)``, through all of the log."""
        inside = {event: row for event, row in self.first_copies().items() if start <= row.date < end}
        self.silver = {event: row for event, row in self.silver.items() if not start <= row.date < end} | inside
        for name in self.definition.rollups:
            rolled = self.rolled[name]
            kept = {event: held for event, held in rolled.rows.items() if not start <= held[0].date < end}
            rolled.rows = kept | {event: (row, self.definition.dating) for event, row in inside.items()}
            for lacking in rolled.lacking.values():
                lacking -= {lost for lost in lacking if start <= lost < end}

    def first_copies(self) -> dict[Place, Row]:
        """The first valid copy of each key, over all of the log, by the definition in force."""
        found: dict[tuple[Any, ...], Row] = {}
        for number in range(len(self.log)):
            for _, row in self.read(number):
                if row is not None:
                    found.setdefault(row.key, row)
        return {row.event: row for row in found.values()}

    def broken(self) -> Counter[Place]:
        """The events that are none, by the definition in force, over all of the log."""
        return Counter(event for n in range(len(self.log)) for event, row in self.read(n) if row is None)

    def never_valid(self) -> set[Place]:
        """The events, as far as refine has come, that no definition since has taken for valid ones."""
        return set(self._never_valid)

    def moves(self, start: date, end: date) -> tuple[set[Place], set[Place]]:
        """Events that a reprocess of the range would lose, and those that it would count twice."""
        now = {event: row for n in range(len(self.log)) for event, row in self.read(n) if row is not None}
        both = [
            (event, start <= was.date < end, start <= now[event].date < end)
            for event, was in self.silver.items()
            if event in now
        ]
        return {event for event, was, is_in in both if was and not is_in}, {
            event for event, was, is_in in both if is_in and not was
        }

    def read(self, number: int) -> list[tuple[Place, Row | None]]:
        """The events of an ingest_batch in the log's order, by the definition in force."""
        return self._read_by(self.definition, number)

    def _read_by(self, definition: Definition, number: int) -> list[tuple[Place, Row | None]]:
        judged = (definition.holds, definition.judging, number)
        if judged not in self._read:
            self._read[judged] = [pair for sent in self.log[number] for pair in events_of(sent, number, definition)]
        return self._read[judged]

    def answer(self, rollup: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """By keys and window start, the measures of a rollup."""
        shape, rolled = self.definition.rollups[rollup], self.rolled[rollup]
        cells: dict[tuple[Any, ...], list[Row]] = {}
        for row, (event_time, zone) in rolled.rows.values():
            at = row.times[event_time]
            # A row of silver from before may lack what is the event time now: it is in no window of a new rollup.
            for start in starts_of(at, shape, zone) if at else ():
                cells.setdefault((*((row.kind,) if shape.by else ()), start), []).append(row)
        return {key: self._cell(shape, rolled, rows) for key, rows in cells.items()}

    def _cell(self, shape: Shape, rolled: Rolled, rows: list[Row]) -> tuple[Any, ...]:
        dates = {row.date for row in rows}
        summed = [v for v in (getattr(row, shape.revenue_of) for row in rows) if v is not None]
        units = [row.units for row in rows if row.units is not None]
        values = {"n": len(rows), "money": sum(summed) if summed else None, "units": max(units, default=None)}
        return tuple(
            None if dates & rolled.lacking.get(measure, set()) else values[measure] for measure in shape.measures
        )


def events_of(sent: Sent, number: int, definition: Definition) -> Iterable[tuple[Place, Row | None]]:
    """The events of a record, as a definition reads them; None: it belongs into quarantine."""
    for said in said_by(sent.data, definition.holds):
        event = (sent.sequence, -1 if said.ordinal is None else said.ordinal)
        yield event, None if said.members is None else row_of(event, said.members, sent, number, definition)


def starts_of(at: datetime, shape: Shape, zone: str) -> list[datetime]:
    """The starts of the windows that an event belongs to; days begin at midnight of the zone."""
    if not shape.length:
        local = at.astimezone(ZoneInfo(zone))
        midnight = datetime(local.year, local.month, local.day, tzinfo=ZoneInfo(zone))
        return [midnight.astimezone(UTC)]
    micros = (at - EPOCH) // timedelta(microseconds=1)
    last = micros - micros % shape.slide
    return [EPOCH + timedelta(microseconds=start) for start in range(last, last - shape.length, -shape.slide)]


def row_of(event: Place, members: dict[str, Any], sent: Sent, number: int, d: Definition) -> Row | None:
    """An event as a definition reads it; None where it belongs into quarantine."""
    try:
        kind, key = string(members.get("kind")), string(members.get("id"))
        times = {name: timestamp(members.get(name)) for name in ("at", "sent")}
        money, units = decimal(members.get("money"), 20, 4), integer(members.get("units"))
        if "until" in d.columns:
            day(members.get("until"))
    except Wrong:
        return None
    values: dict[str, Any] = {"id": key, "kind": kind, **times, "money": money, "units": units}
    at = times[d.event_time]
    if at is None or any(values[name] is None for name in (*d.key, *d.required)):
        return None
    try:
        of = at.astimezone(ZoneInfo(d.zone)).date()
    except OverflowError:
        return None
    if of < d.earliest or at > sent.arrival + MAX_FUTURE:
        return None
    if "kinds" in d.rules and kind is not None and kind not in KINDS:
        return None
    if "money" in d.rules and money is not None and not 0 <= money <= 1000:
        return None
    return Row(event, tuple(values[name] for name in d.key), of, number, kind, times, money, units)
