"""What the demo puts is disturbed in known ways, and its account and proof fail where the answer is a wrong one."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from itertools import islice
from typing import Any

import orjson
import pyarrow as pa
import pytest
from rich.console import Console

from tidemark.core.errors import PreconditionError
from tidemark.core.settings import Settings
from tidemark.definition import Count
from tidemark.embedded.demo.disturbances import BROKEN, DUPLICATES, SERVED, Disturbances, Expected, Kind
from tidemark.embedded.demo.proof import prove, recompute
from tidemark.embedded.demo.report import Account, account, print_report
from tidemark.lake.commits import IdempotentWriter
from tidemark.lake.evolution import create_tables
from tidemark.lake.tables import tables_of
from tidemark.pipelines.flights import flights
from tidemark.pipelines.producers.flights import events, read_flights
from tidemark.pipelines.producers.producer import Event, Produced, put_records

FLIGHTS = 6_000


def data(event: Event) -> bytes:
    return event if isinstance(event, bytes) else orjson.dumps(event)


def put(first: int = 0, stop: int = FLIGHTS, **options: Any) -> tuple[list[Event], Expected]:
    expected = Expected()
    return list(Disturbances(**options).events(first, stop, expected)), expected


@pytest.fixture(scope="module")
def stream() -> tuple[list[Event], Expected]:
    return put()


def key(event: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(event[name] for name in flights.key)


def test_the_same_seed_gives_the_same_records_and_another_one_others(stream: tuple[list[Event], Expected]) -> None:
    assert put() == stream
    assert put(seed=2)[0] != stream[0]


def test_the_plan_accounts_for_every_record_and_every_kind_occurs(stream: tuple[list[Event], Expected]) -> None:
    records, expected = stream
    assert expected.records == len(records)
    assert expected.records == len(expected.arrivals) + expected.duplicates + expected.quarantined
    assert all(expected.counts[kind] for kind in Kind if kind != Kind.PUT_AGAIN)
    assert Counter(expected.arrivals.values()) == {kind: expected.counts[kind] for kind in SERVED}
    disturbed = 1 - expected.counts[Kind.IN_ORDER] / expected.records
    assert 0.02 < disturbed < 0.1


def test_what_is_whole_is_a_flight_of_the_file_and_what_is_broken_is_none(
    stream: tuple[list[Event], Expected],
) -> None:
    records, expected = stream
    originals = {orjson.dumps(flight): number for number, flight in enumerate(events(FLIGHTS))}
    whole = [originals[data(record)] for record in records if data(record) in originals]
    assert set(whole) == expected.arrivals.keys()
    assert len(whole) - len(set(whole)) == expected.duplicates
    assert sum(data(record) not in originals for record in records) == expected.quarantined
    lost = FLIGHTS - len(expected.arrivals)
    assert 0 < lost < expected.quarantined, "some flights are broken only, and some are right later"


def test_each_broken_record_is_broken_in_the_way_that_it_says(stream: tuple[list[Event], Expected]) -> None:
    def parsed(record: bytes) -> Any:
        try:
            return json.loads(record)
        except UnicodeDecodeError:
            return Kind.NOT_UTF8
        except json.JSONDecodeError:
            return Kind.EMPTY if not record else Kind.CUT if record.startswith(b'{"') else Kind.NOT_JSON

    def is_number(value: Any) -> bool:
        return value is None or (isinstance(value, int) and not isinstance(value, bool))

    numbers = ("flight", "dep_delay", "arr_delay", "air_time", "distance")
    ways: dict[Kind, Callable[[Any], bool]] = {
        Kind.WRONG_TYPE: lambda row: (
            not all(is_number(row[name]) for name in numbers) or not str(row["scheduled_departure"]).startswith("2013")
        ),
        Kind.UNKNOWN_ORIGIN: lambda row: row["origin"] not in ("EWR", "JFK", "LGA"),
        Kind.NEGATIVE_DISTANCE: lambda row: row["distance"] < 0,
        Kind.LONG_CARRIER: lambda row: len(row["carrier"]) > 2,
        Kind.NO_DESTINATION: lambda row: row["dest"] is None,
    }
    for record, kind in stream[1].broken.items():
        read = parsed(record)
        assert ways[kind](read) if kind in ways else read == kind, (kind, record)
    assert set(stream[1].broken.values()) == set(BROKEN)


def test_late_records_and_duplicates_come_thousands_of_records_after_their_neighbours() -> None:
    records, expected = put(0, 40_000)
    numbers = {key(flight): number for number, flight in enumerate(events(40_000))}
    seen: dict[int, int] = {}
    behind, apart = [], []
    newest = 0
    for place, record in enumerate(records):
        number = numbers.get(key(record)) if isinstance(record, dict) and len(record["carrier"]) == 2 else None
        if number is None:
            continue
        if number in seen:
            apart.append(place - seen[number])
        elif expected.arrivals.get(number) == Kind.LATE:
            behind.append(newest - number)
        seen.setdefault(number, place)
        newest = max(newest, number)
    assert sum(distance > 2_000 for distance in behind) > len(behind) / 2
    assert min(apart) <= 20
    assert max(apart) > 10_000


def test_runs_that_go_on_with_one_another_are_told_apart_by_what_the_stream_holds() -> None:
    records, expected = put(0, 3_000)
    more, planned = put(3_000, FLIGHTS)
    found = Disturbances().expected_of(map(data, [*records, *more]), FLIGHTS)
    assert found.counts == expected.counts + planned.counts
    assert found.arrivals == expected.arrivals | planned.arrivals
    assert found.broken == expected.broken | planned.broken


def test_records_that_a_repeated_call_put_twice_are_counted_as_the_stream_holds_them(
    stream: tuple[list[Event], Expected],
) -> None:
    records, expected = stream
    call = records[1_000:1_500]
    found = Disturbances().expected_of(map(data, [*records[:1_500], *call, *records[1_500:]]), FLIGHTS)
    assert found.records == expected.records + len(call)
    assert found.arrivals.keys() == expected.arrivals.keys()
    assert found.quarantined == expected.quarantined + sum(data(record) in expected.broken for record in call)
    assert found.duplicates > expected.duplicates
    assert found.records == len(found.arrivals) + found.duplicates + found.quarantined


def test_a_record_that_the_demo_does_not_put_is_refused() -> None:
    with pytest.raises(PreconditionError, match=r"1 records that the demo does not put.*use a stream of its own"):
        Disturbances().expected_of([b"{}", *(orjson.dumps(flight) for flight in events(10))], 10)


def test_calls_that_were_repeated_are_counted() -> None:
    class Client:
        """Acknowledges everything, the second call only after two repetitions."""

        repetitions = iter([0, 2, 0])

        def put_records(self, StreamName: str, Records: list[Any]) -> dict[str, Any]:
            return {"Records": [{}] * len(Records), "ResponseMetadata": {"RetryAttempts": next(self.repetitions)}}

    records = ((b"x", "key") for _ in range(1_200))
    done = put_records(Client(), "stream", records, Produced())  # type: ignore[arg-type]
    assert (done.records, done.repeated) == (1_200, 2)


class Tables:
    """The tables as the streams would leave them, written by hand; a test may spoil the rows first."""

    def __init__(self, stream: tuple[list[Event], Expected], settings: Settings) -> None:
        records, self.expected = stream
        self.settings = settings
        self.bronze = [data(record) for record in records]
        self.quarantine = [record for record in self.bronze if record in self.expected.broken]
        whole = [record for record in self.bronze if record not in self.expected.broken]
        self.silver = list(dict.fromkeys(whole))
        self.duplicates = len(whole) - len(self.silver)

    def account(self) -> Account:
        tables = tables_of(flights, self.settings)
        create_tables(tables, self.settings)

        def write(table: Any, rows: list[dict[str, Any]]) -> None:
            filled = [{name: row.get(name) for name in table.schema.names} for row in rows]
            IdempotentWriter(table, self.settings).append(pa.Table.from_pylist(filled, schema=table.schema), 0)

        def lineage(number: int) -> dict[str, Any]:
            today = datetime(2026, 1, 1, tzinfo=UTC).date()
            return {"shard_id": "shard", "sequence_number": str(number), "sub_sequence_number": 0,
                    "ingest_batch": 0, "segment": 0, "ingest_date": today}  # fmt: skip

        write(tables.bronze, [{"data": record, **lineage(n)} for n, record in enumerate(self.bronze)])
        write(tables.quarantine, [{"data": record, **lineage(n)} for n, record in enumerate(self.quarantine)])
        write(tables.silver, [{**row(record), **lineage(n)} for n, record in enumerate(self.silver)])
        write(tables.refine_log, [{"ingest_batch": 0, "segment": 0, "duplicates": self.duplicates}])
        return account(flights, self.expected, self.settings)


def row(record: bytes) -> dict[str, Any]:
    flight = orjson.loads(record)
    when = datetime.fromisoformat(flight["scheduled_departure"])
    return {**flight, "scheduled_departure": when, "event_date": when.date()}


@pytest.fixture
def tables(stream: tuple[list[Event], Expected], tmp_path: Any) -> Iterator[Tables]:
    return Tables(stream, Settings(home=tmp_path))


def test_an_account_of_the_right_tables_balances_and_shows_put_and_found_by_kind(tables: Tables) -> None:
    found = tables.account()
    assert found.balances, found
    shown = Console(file=StringIO(), width=140)
    print_report(shown, found, [], {})
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    for kind in (*SERVED, *BROKEN):
        assert kind in text
    assert f"{tables.expected.counts[Kind.TWICE_AT_ONCE]:,} soon after" in text
    assert found.duplicates == sum(tables.expected.counts[kind] for kind in DUPLICATES)
    assert " NO " not in text


def a_duplicate_is_not_found(tables: Tables) -> None:
    tables.duplicates -= 1


def a_duplicate_is_served(tables: Tables) -> None:
    tables.duplicates -= 1
    tables.silver.append(tables.silver[0])


def a_flight_is_missing_and_another_is_there_twice(tables: Tables) -> None:
    tables.silver[5] = tables.silver[6]


def a_flight_is_served_that_was_broken_only(tables: Tables) -> None:
    lost = next(number for number in range(FLIGHTS) if number not in tables.expected.arrivals)
    [flight] = islice(events(FLIGHTS), lost, lost + 1)
    tables.silver[5] = orjson.dumps(flight)


def a_broken_record_is_served(tables: Tables) -> None:
    wrong = next(record for record, kind in tables.expected.broken.items() if kind == Kind.NEGATIVE_DISTANCE)
    tables.quarantine.remove(wrong)
    tables.silver.append(wrong)


def a_whole_record_is_in_quarantine(tables: Tables) -> None:
    tables.quarantine.append(tables.silver.pop())


def one_broken_record_is_in_quarantine_in_the_place_of_another(tables: Tables) -> None:
    tables.quarantine[tables.quarantine.index(b"")] = next(
        record for record, kind in tables.expected.broken.items() if kind == Kind.CUT
    )


def a_record_was_never_ingested(tables: Tables) -> None:
    tables.bronze.pop()
    tables.silver.pop()


@pytest.mark.parametrize(
    "spoil",
    [
        a_duplicate_is_not_found,
        a_duplicate_is_served,
        a_flight_is_missing_and_another_is_there_twice,
        a_flight_is_served_that_was_broken_only,
        a_broken_record_is_served,
        a_whole_record_is_in_quarantine,
        one_broken_record_is_in_quarantine_in_the_place_of_another,
        a_record_was_never_ingested,
    ],
)
def test_an_account_of_wrong_tables_does_not_balance(tables: Tables, spoil: Callable[[Tables], None]) -> None:
    spoil(tables)
    found = tables.account()
    assert not found.balances
    assert not print_report(Console(quiet=True), found, [], {})


def test_the_proof_fails_with_one_flight_too_many_or_too_few() -> None:
    rollup = replace(flights.rollups[0], measures={"scheduled": Count()})
    all_flights = read_flights().head(500)
    right = recompute(all_flights, flights, rollup)
    assert prove(right, right, rollup).holds
    for wrong in (read_flights().head(501), all_flights.drop(index=7)):
        assert not prove(recompute(wrong, flights, rollup), right, rollup).holds
