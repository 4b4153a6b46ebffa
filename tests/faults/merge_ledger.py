"""The producer of a merge schedule: it knows of every record what it put and whether that was an event."""

import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta, timezone
from decimal import Decimal
from typing import NamedTuple

from kinesis_streams import Stream
from merge_world import DAYS, KINDS, MICROS_A_DAY, RELIC, RELIC_DAY, micros, moment

PANE = 3 * 3_600_000_000
INDIA = timezone(timedelta(hours=5, minutes=30))


@dataclass(frozen=True)
class Event:
    """What a record says: ``at`` is its event time in microseconds since the epoch."""

    key: str
    kind: str
    at: int
    units: int
    value: Decimal | None


class Record(NamedTuple):
    """A record as it was put; without an event it is broken, and belongs into quarantine."""

    data: bytes
    event: Event | None


Place = tuple[str, str]
"""Shard and sequence number, as the put was acknowledged."""


class Ledger:
    """Draws records from a seed, puts them, and keeps each under the place that Kinesis gave it."""

    def __init__(self, seed: int, stream: Stream, *, moving: bool) -> None:
        """``moving``: a copy may have another event time, and so another date, than the first."""
        self.stream = stream
        self._rng = random.Random(f"{seed} records")
        self._events: list[Event] = []
        self._records: dict[Place, Record] = {}
        self._serial = 0
        self._moving = moving
        self._lock = threading.Lock()

    def put(self, number: int) -> None:
        """Put so many records, in calls of at most 100."""
        while number > 0:
            records = [self._draw() for _ in range(min(number, 100))]
            entries = [{"Data": r.data, "PartitionKey": str(self._rng.randrange(1000))} for r in records]
            # Whoever finds a record in bronze before the put was answered waits here until the ledger holds it.
            with self._lock:
                answers = self.stream.client.put_records(StreamName=self.stream.name, Records=entries)
                assert not answers["FailedRecordCount"], answers
                places = ((a["ShardId"], a["SequenceNumber"]) for a in answers["Records"])
                self._records.update(zip(places, records, strict=True))
            number -= len(records)

    def find(self, place: Place) -> Record | None:
        """The record that was put there."""
        if place not in self._records:
            with self._lock:
                return self._records.get(place)
        return self._records[place]

    def __len__(self) -> int:
        return len(self._records)

    def places(self) -> set[Place]:
        """Where records were put."""
        return set(self._records)

    def _draw(self) -> Record:
        self._serial += 1
        draw = self._rng.random()
        if draw < 0.06:
            return self._broken()
        if draw < 0.20 and self._events:
            # A copy of any age, perhaps through another shard; now and then one that says something else.
            event = self._rng.choice(self._events)
            if self._rng.random() < 0.2:
                event = replace(event, units=event.units + 1, value=Decimal(self._serial % 1000))
                other = self._event()
                if self._moving and RELIC not in (event.kind, other.kind):
                    event = replace(event, at=other.at)
            return Record(self._written(event), event)
        event = self._event()
        self._events.append(event)
        return Record(self._written(event), event)

    def _event(self) -> Event:
        rng = self._rng
        relic = rng.random() < 0.03
        # Six of ten are of the newest day, the others late by days; and nothing comes in order.
        day = RELIC_DAY if relic else rng.choice([*DAYS[:-1], *[DAYS[-1]] * 6])
        begin, draw = micros(day), rng.random()
        if draw < 0.1:
            at = begin
        elif draw < 0.2:
            at = begin + MICROS_A_DAY - 1
        elif draw < 0.3:
            at = begin + PANE * rng.randrange(8)
        else:
            at = begin + rng.randrange(MICROS_A_DAY)
        value = None if rng.random() < 0.1 else Decimal(rng.randrange(10_000_000)) / 100
        kind = RELIC if relic else rng.choice(KINDS)
        return Event(f"{self._serial:08x}", kind, at, rng.randrange(10**12), value)

    def _written(self, event: Event) -> bytes:
        at = moment(event.at)
        time = at.isoformat() if self._rng.random() < 0.8 else at.astimezone(INDIA).isoformat()
        return _json(event, event_time=time)

    def _broken(self) -> Record:
        event = self._event()
        good = self._written(event)
        kinds: tuple[Callable[[], bytes], ...] = (
            lambda: good[:-7],
            lambda: b"\xff\xfe" + good,
            lambda: f"[{self._serial}]".encode(),
            lambda: b"",
            lambda: _json(event, event_id=None),
            lambda: _json(event, event_time="yesterday"),
            lambda: _json(event, event_time="2999-01-01T00:00:00+00:00"),
            lambda: _json(event, event_time=None),
            lambda: _json(event, user_id="many"),
            lambda: _json(event, user_id=None),
            lambda: _json(event, event="theft"),
            lambda: _json(event, value="100000.01"),
            lambda: _json(event, value="99999999999.00"),
        )
        data = self._rng.choice(kinds)()
        if self._rng.random() < 0.2:
            # The key comes again, in an event that is none the worse for it.
            self._events.append(event)
        return Record(data, None)


def _json(said: Event, /, **replaced: str | None) -> bytes:
    value = None if said.value is None else str(said.value)
    time = moment(said.at).isoformat()
    fields = {"event_id": said.key, "user_id": said.units, "event": said.kind, "value": value, "event_time": time}
    return json.dumps({**fields, **replaced}).encode()
