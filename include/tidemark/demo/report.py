"""The demo's closing account and proof."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table as RichTable

from tidemark.definition import Pipeline
from tidemark.delta import open_table
from tidemark.demo.proof import Proof, prove, recompute
from tidemark.producers.flights import read_flights
from tidemark.serving import answer, pin
from tidemark.settings import Settings
from tidemark.tables import Table, tables_of


@dataclass(frozen=True)
class Account:
    """Where every record went: by count, and by key."""

    put: int
    bronze: int
    bronze_distinct: int
    silver: int
    silver_distinct: int
    quarantined: int
    duplicates: int

    @property
    def balances(self) -> bool:
        """Each record once in bronze, each key once in silver, and nothing lost."""
        return (
            self.put == self.bronze == self.bronze_distinct == self.silver + self.quarantined + self.duplicates
            and self.silver == self.silver_distinct
        )


def account(pipeline: Pipeline, put: int, settings: Settings) -> Account:
    """Count the tables."""
    tables = tables_of(pipeline, settings)
    bronze = _read(tables.bronze, ["shard_id", "sequence_number", "sub_sequence_number"], settings)
    silver = _read(tables.silver, list(pipeline.key), settings)
    log = _read(tables.refine_log, ["duplicates"], settings)
    return Account(
        put,
        bronze.num_rows,
        bronze.group_by(bronze.column_names).aggregate([]).num_rows,
        silver.num_rows,
        silver.group_by(silver.column_names).aggregate([]).num_rows,
        _read(tables.quarantine, ["sequence_number"], settings).num_rows,
        pc.sum(log["duplicates"]).as_py() or 0,
    )


def proofs(pipeline: Pipeline, put: int, settings: Settings) -> list[Proof]:
    """Each rollup as served against the input file's first ``put`` flights."""
    events = read_flights().head(put)
    return [
        prove(answer(pin(pipeline, rollup, settings)), recompute(events, pipeline, rollup), rollup)
        for rollup in pipeline.rollups
    ]


def print_report(console: Console, found: Account, proven: list[Proof], timings: dict[str, float]) -> bool:
    """Print the account, the proof and the timings; True if everything agrees."""
    table = RichTable("account", "records", title="Where every record went", title_justify="left")
    table.columns[1].justify = "right"
    for name, count in vars(found).items():
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
    table = RichTable("step", "seconds", title="Timings", title_justify="left")
    for name, seconds in timings.items():
        table.add_row(name, f"{seconds:.1f}")
    console.print(table)
    return found.balances and bool(proven) and all(proof.holds for proof in proven)


def _verdict(holds: bool) -> str:
    return "[green]yes[/]" if holds else "[bold red]NO[/]"


def _read(table: Table, columns: list[str], settings: Settings) -> pa.Table:
    return open_table(table, settings).to_pyarrow_dataset().to_table(columns=columns)
