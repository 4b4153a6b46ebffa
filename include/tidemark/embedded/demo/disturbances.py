"""Turns flights, in order and without copies, into what a real stream brings, and knows what becomes of each record.

Nothing of this is taken from the code that it tests: a record is known to be broken because it was broken here, not
because a parser or a rule says so.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from itertools import count, islice
from random import Random
from typing import Any, NamedTuple

import orjson

from tidemark.core.errors import PreconditionError
from tidemark.pipelines.producers.flights import events
from tidemark.pipelines.producers.producer import Event


class Kind(StrEnum):
    """What may happen to a record on its way into a stream."""

    IN_ORDER = "in order"
    SHUFFLED = "out of order"
    LATE = "late"
    CORRECTED = "right, after a broken one"
    TWICE_AT_ONCE = "duplicate, soon after"
    TWICE_LATER = "duplicate, long after"
    PUT_AGAIN = "duplicate, by a repeated call"
    CUT = "cut JSON"
    NOT_JSON = "not JSON"
    EMPTY = "empty"
    NOT_UTF8 = "not UTF-8"
    WRONG_TYPE = "wrong type"
    UNKNOWN_ORIGIN = "unknown origin"
    NEGATIVE_DISTANCE = "negative distance"
    LONG_CARRIER = "carrier too long"
    NO_DESTINATION = "no destination"


SERVED = (Kind.IN_ORDER, Kind.SHUFFLED, Kind.LATE, Kind.CORRECTED)
"""Kinds of records by which a flight gets into silver."""
DUPLICATES = (Kind.TWICE_AT_ONCE, Kind.TWICE_LATER, Kind.PUT_AGAIN)
"""Kinds of records that must be left out: silver has the flight already."""
BROKEN = tuple(kind for kind in Kind if kind not in SERVED + DUPLICATES)
"""Kinds of records that must be in quarantine."""

LONGEST_DELAY = 150_000
"""How many flights later a late record or a late duplicate may come."""
_SHORTEST_LATE = 2_000
_SHARES = {
    Kind.SHUFFLED: 0.02,
    Kind.LATE: 0.005,
    Kind.TWICE_AT_ONCE: 0.005,
    Kind.TWICE_LATER: 0.005,
    Kind.CORRECTED: 0.005,
}
"""Of all flights, how many meet with what."""
_LOST_SHARE = 0.005
"""Of all flights, how many exist in a broken record only."""


class _Planned(NamedTuple):
    delay: int
    event: Event
    kind: Kind


@dataclass
class Expected:
    """What must become of the records that were put."""

    counts: Counter[Kind] = field(default_factory=Counter)
    """Records by kind."""
    arrivals: dict[int, Kind] = field(default_factory=dict)
    """The flights that must be served, by their number in the input file, and how each came."""
    broken: dict[bytes, Kind] = field(default_factory=dict)
    """The records that must be in quarantine, by their bytes; some were put several times."""

    @property
    def records(self) -> int:
        """How many records there are."""
        return self.counts.total()

    @property
    def duplicates(self) -> int:
        """How many of them must be left out as duplicates."""
        return sum(self.counts[kind] for kind in DUPLICATES)

    @property
    def quarantined(self) -> int:
        """How many of them must be in quarantine."""
        return sum(self.counts[kind] for kind in BROKEN)

    def add(self, flight: int, kind: Kind, data: bytes) -> None:
        """Account for a record of a flight."""
        self.counts[kind] += 1
        if kind in SERVED:
            self.arrivals[flight] = kind
        elif kind in BROKEN:
            self.broken[data] = kind


class Disturbances:
    """What happens to each flight follows from the seed and its number in the input file alone.

    So it does not depend on which flights are put together: runs that go on with one another make one stream.
    ``longest_delay``, in flights, only says how late a late record may come.
    """

    def __init__(self, seed: int = 1, longest_delay: int = LONGEST_DELAY) -> None:
        self._seed = seed
        self._longest_delay = max(longest_delay, _SHORTEST_LATE)

    def events(self, first: int, stop: int | None, expected: Expected) -> Iterator[Event]:
        """The records of the flights with the numbers ``[first, stop)``; ``expected`` counts them as they are given.

        All of those that are late come before it ends.
        """
        order = count()
        waiting: list[tuple[int, int, int, _Planned]] = []

        def due(now: float) -> Iterator[Event]:
            while waiting and waiting[0][0] <= now:
                _, _, flight, planned = heapq.heappop(waiting)
                expected.add(flight, planned.kind, _data(planned.event))
                yield planned.event

        for number, flight in _flights(first, stop):
            for planned in self._plan(number, flight):
                heapq.heappush(waiting, (number + planned.delay, next(order), number, planned))
            yield from due(number)
        yield from due(float("inf"))

    def expected_of(self, records: Iterable[bytes], stop: int | None = None) -> Expected:
        """What must become of a stream's records, each put once or more often, of the flights below ``stop``.

        Raises:
            PreconditionError: there are some that no run of the demo puts.
        """
        flights: dict[bytes, int] = {}
        planned: dict[int, list[Kind]] = {}
        broken: dict[bytes, Kind] = {}
        for number, flight in _flights(0, stop):
            flights[_digest(_data(flight))] = number
            parts = self._plan(number, flight)
            broken |= {_data(part.event): part.kind for part in parts if part.kind in BROKEN}
            if len(parts) > 1 or parts[0].kind != Kind.IN_ORDER:
                planned[number] = [part.kind for part in parts if part.kind not in BROKEN]
        expected, strange = Expected(), 0
        for data in records:
            if (kind := broken.get(data)) is not None:
                expected.add(-1, kind, data)
            elif (known := flights.get(_digest(data))) is None:
                strange += 1
            else:
                expected.add(known, _next_kind(planned.get(known, []), known in expected.arrivals), data)
        if strange:
            raise PreconditionError(
                f"the stream holds {strange:,} records that the demo does not put, so that there is nothing to compare "
                "them with: use a stream of its own; on the stack, `docker compose down --volumes` begins again"
            )
        return expected

    def _plan(self, number: int, flight: dict[str, Any]) -> list[_Planned]:
        """The records of a flight, and by how many flights each is late."""
        chance = int.from_bytes(blake2b(b"%d/%d" % (self._seed, number), digest_size=8).digest())
        draw = chance / 2**64
        for kind, share in _SHARES.items():
            if draw < share:
                return self._disturbed(kind, flight, Random(chance))
            draw -= share
        if draw < _LOST_SHARE:
            return [_broken(flight, Random(chance))]
        return [_Planned(0, flight, Kind.IN_ORDER)]

    def _disturbed(self, kind: Kind, flight: dict[str, Any], randomness: Random) -> list[_Planned]:
        match kind:
            case Kind.SHUFFLED:
                return [_Planned(randomness.randint(1, 200), flight, kind)]
            case Kind.LATE:
                return [_Planned(self._long(randomness), flight, kind)]
            case Kind.CORRECTED:
                return [_broken(flight, randomness), _Planned(randomness.randint(100, 2_000), flight, kind)]
            case _:
                delay = randomness.randint(1, 20) if kind == Kind.TWICE_AT_ONCE else self._long(randomness)
                return [_Planned(0, flight, Kind.IN_ORDER), _Planned(delay, flight, kind)]

    def _long(self, randomness: Random) -> int:
        # As many between 2,000 and 20,000 as between 15,000 and 150,000.
        return int(_SHORTEST_LATE * (self._longest_delay / _SHORTEST_LATE) ** randomness.random())


def _next_kind(planned: list[Kind], arrived: bool) -> Kind:
    """The kind of the next whole record of a flight, of which the first makes it arrive; takes it from the plan."""
    wanted = DUPLICATES if arrived else SERVED
    kind = next((kind for kind in planned if kind in wanted), None)
    if kind is None:
        return Kind.PUT_AGAIN if arrived else Kind.IN_ORDER
    planned.remove(kind)
    return kind


def _flights(first: int, stop: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
    return islice(enumerate(events(stop)), first, None)


def _data(event: Event) -> bytes:
    """A record's bytes, as the producer puts them."""
    return event if isinstance(event, bytes) else orjson.dumps(event)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _broken(flight: dict[str, Any], randomness: Random) -> _Planned:
    kind = randomness.choice(BROKEN)
    return _Planned(0, _BREAK[kind](flight, randomness), kind)


def _cut(flight: dict[str, Any], randomness: Random) -> bytes:
    whole = orjson.dumps(flight)
    return whole[: randomness.randrange(2, len(whole))]


def _not_json(flight: dict[str, Any], randomness: Random) -> bytes:
    columns = ",".join("" if value is None else str(value) for value in flight.values())
    text = randomness.choice((columns, f"<flight>{columns}</flight>", f"flight {flight['flight']} has left"))
    return text.encode()


def _not_utf8(flight: dict[str, Any], randomness: Random) -> bytes:
    place = randomness.choice((b"D\xfcsseldorf", b"Malm\xf6", b"\xff\xfe"))  # two in Latin-1
    return orjson.dumps(flight)[:-1] + b',"remark":"' + place + b'"}'


def _wrong_type(flight: dict[str, Any], randomness: Random) -> Event:
    column = randomness.choice(("flight", "scheduled_departure", "dep_delay", "arr_delay", "air_time", "distance"))
    return {**flight, column: randomness.choice(("n/a", "two", True))}


_BREAK: Mapping[Kind, Callable[[dict[str, Any], Random], Event]] = {
    Kind.CUT: _cut,
    Kind.NOT_JSON: _not_json,
    Kind.EMPTY: lambda flight, randomness: b"",
    Kind.NOT_UTF8: _not_utf8,
    Kind.WRONG_TYPE: _wrong_type,
    Kind.UNKNOWN_ORIGIN: lambda flight, randomness: {**flight, "origin": randomness.choice(("BOS", "PHL", ""))},
    Kind.NEGATIVE_DISTANCE: lambda flight, randomness: {**flight, "distance": -flight["distance"]},
    Kind.LONG_CARRIER: lambda flight, randomness: {**flight, "carrier": f"{flight['carrier']}{flight['carrier']}"},
    Kind.NO_DESTINATION: lambda flight, randomness: {**flight, "dest": None},
}
