"""The demo's closing account and proof."""

from collections import Counter
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.embedded.demo.disturbances import BROKEN, DUPLICATES, SERVED, Expected
from tidemark.embedded.demo.proof import Proof, prove, recompute
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import Table, tables_of
from tidemark.pipelines.producers.flights import read_flights
from tidemark.serving import pin, query


@dataclass(frozen=True)
class Fate:
    """What became of the records of one kind."""

    kind: str
    put: int
    found: int
    where: str

    @property
    def agrees(self) -> bool:
        """Whether all of them are where they must be, and no others."""
        return self.put == self.found


@dataclass(frozen=True)
class Account:
    """Where every record went: by count, by key, and by kind."""

    put: int
    bronze: int
    bronze_distinct: int
    silver: int
    silver_distinct: int
    quarantined: int
    duplicates: int
    missing_flights: int
    """Flights that must be served, and are not."""
    unexpected_flights: int
    """Rows of silver that are not flights, or flights that no whole record was put of."""
    fates: tuple[Fate, ...]

    @property
    def balances(self) -> bool:
        """Each record once in bronze, each key once in silver, nothing lost, and each kind where it must be."""
        return (
            self.put == self.bronze == self.bronze_distinct == self.silver + self.quarantined + self.duplicates
            and self.silver == self.silver_distinct
            and not (self.missing_flights or self.unexpected_flights)
            and all(fate.agrees for fate in self.fates)
        )


def account(pipeline: Pipeline, expected: Expected, settings: Settings) -> Account:
    """Count the tables, and look for every flight and every broken record in them."""
    tables = tables_of(pipeline, settings)
    bronze = _read(tables.bronze, ["shard_id", "sequence_number", "sub_sequence_number"], settings)
    silver = _read(tables.silver, list(pipeline.key), settings)
    broken = _read(tables.quarantine, ["data"], settings)["data"].to_pylist()
    duplicates = pc.sum(_read(tables.refine_log, ["duplicates"], settings)["duplicates"]).as_py() or 0
    served = _flight_numbers(silver, pipeline)
    arrivals = {number: expected.arrivals.get(number) for number in served if number is not None}
    found = Counter([*arrivals.values(), *(expected.broken.get(data) for data in broken)])
    fates = [Fate(kind, expected.counts[kind], found[kind], "silver") for kind in SERVED]
    fates += [Fate(kind, expected.counts[kind], found[kind], "quarantine") for kind in BROKEN]
    twice = ", ".join(f"{expected.counts[kind]:,} {kind.removeprefix('duplicate, ')}" for kind in DUPLICATES)
    fates.append(Fate(f"duplicates ({twice})", expected.duplicates, duplicates, "left out"))
    return Account(
        expected.records,
        bronze.num_rows,
        bronze.group_by(bronze.column_names).aggregate([]).num_rows,
        silver.num_rows,
        silver.group_by(silver.column_names).aggregate([]).num_rows,
        len(broken),
        duplicates,
        len(expected.arrivals.keys() - arrivals.keys()),
        sum(expected.arrivals.get(-1 if number is None else number) is None for number in served),
        tuple(fates),
    )


def proofs(pipeline: Pipeline, expected: Expected, settings: Settings) -> list[Proof]:
    """Each rollup as served against the flights of the input file that must be served."""
    flights = read_flights()
    events = flights[flights.index.isin(expected.arrivals)]
    return [
        prove(query(pin(pipeline, rollup, settings)), recompute(events, pipeline, rollup), rollup)
        for rollup in pipeline.rollups
    ]


def print_report(console: Console, found: Account, proven: list[Proof], timings: dict[str, float]) -> bool:
    """Print the account, the proof and the timings; True if everything agrees."""
    table = RichTable("kind of record", title="What was put, and what became of it", title_justify="left")
    for name in ("put", "found"):
        table.add_column(name, justify="right")
    for name in ("where", "agrees"):
        table.add_column(name)
    for fate in found.fates:
        table.add_row(fate.kind, f"{fate.put:,}", f"{fate.found:,}", fate.where, _verdict(fate.agrees))
    console.print(table)
    table = RichTable("account", "records", title="Where every record went", title_justify="left")
    table.columns[1].justify = "right"
    for name, count in vars(found).items():
        if name != "fates":
            table.add_row(name.replace("_", " "), f"{count:,}")
    table.add_row("agrees", _verdict(found.balances))
    console.print(table)
    table = RichTable(title="Served rollups against a recomputation from the input file", title_justify="left")
    for name in ("rollup", "windows", "missing", "extra", "exact values", "differ"):
        table.add_column(name, justify="left" if name == "rollup" else "right", no_wrap=True)
    for name in ("distinct err", "rank err", "agrees"):
        table.add_column(name, justify="right")
    for proof in proven:
        counts = (f"{n:,}" for n in proof[1:6])
        errors = (f"{proof.worst_distinct_error:.2%}", f"{proof.worst_rank_error:.2%}")
        table.add_row(proof.rollup, *counts, *errors, _verdict(proof.holds))
    console.print(table)
    table = RichTable("step", title="Where the seconds went", title_justify="left")
    table.add_column("done after (s)", justify="right")
    table.add_column("took (s)", justify="right")
    before = 0.0
    for name, seconds in timings.items():
        table.add_row(name, f"{seconds:.1f}", f"{seconds - before:.1f}")
        before = seconds
    console.print(table)
    return found.balances and bool(proven) and all(proof.holds for proof in proven)


def _verdict(holds: bool) -> Text:
    return Text("yes", "green") if holds else Text("NO", "bold red")


def _read(table: Table, columns: list[str], settings: Settings) -> pa.Table:
    return open_table(table, settings).to_pyarrow_dataset().to_table(columns=columns)


def _flight_numbers(silver: pa.Table, pipeline: Pipeline) -> list[int | None]:
    """Of each row of silver, the number of its flight in the input file; None where the file has no such flight."""
    keys = read_flights()[list(pipeline.key)].rename_axis("number").reset_index()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("silver", silver).register("keys", keys)
        found = connection.sql(f"SELECT number FROM silver LEFT JOIN keys USING ({', '.join(pipeline.key)})")
        numbers: list[int | None] = found.to_arrow_table()["number"].to_pylist()
        return numbers
