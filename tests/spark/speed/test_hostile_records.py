"""Records that once ended a pipeline, or were lost in part: through the stream, reprocess, compaction and serving."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from layers import kinesis_records, make_tables, read
from pyspark.sql import SparkSession

from tidemark.core.errors import CoverageError
from tidemark.core.settings import Settings
from tidemark.definition import Count, KinesisStream, Max, Pipeline, Rollup, Sum, Window
from tidemark.lake.generations import begin_generation, fingerprint
from tidemark.lake.maintenance.compaction import compact
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import Tables, tables_of
from tidemark.monitoring.overview import overview
from tidemark.quality import Suite, load_suite
from tidemark.serving import pin, query
from tidemark.serving.rows import rows_of
from tidemark.serving.scan import _dataset
from tidemark.serving.session import sql_session
from tidemark_spark.batch.reconcile import reconcile
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.speed.fold import fold
from tidemark_spark.speed.ingest import BronzeSink

DAY = date(2026, 1, 1)
NOW = datetime(2026, 1, 5, tzinfo=UTC)
FIRST_OF_PYTHON = date(1, 1, 1).toordinal() - date(1970, 1, 1).toordinal()


def pipeline(**changed: Any) -> Pipeline:
    definition: dict[str, Any] = {
        "name": "hostile",
        "source": KinesisStream("hostile"),
        "schema": "id STRING, amount DECIMAL(28,4), at TIMESTAMP, until TIMESTAMP, born DATE, note STRING",
        "event_time": "at",
        "key": ["id"],
        "rollups": [
            Rollup(
                "daily",
                by=[],
                window=Window("1 day"),
                measures={"n": Count(), "sum": Sum("amount"), "until": Max("until"), "born": Max("born")},
            )
        ],
        "suite": "suite.json",
    }
    return Pipeline(**{**definition, **changed})


PLAIN = pipeline()


class Hostile:
    """A lake of one pipeline, to which records are added a micro-batch at a time."""

    def __init__(self, settings: Settings, refine: Callable[..., None], definition: Pipeline) -> None:
        self.settings = settings
        self.definition = definition
        self._refine = refine
        self._batches = self._records = 0
        make_tables(definition, settings)
        begin_generation(definition, self.suite, settings)
        self._sink = BronzeSink(definition, settings, lambda: "query", clock=lambda: NOW)

    @property
    def tables(self) -> Tables:
        return tables_of(self.definition, self.settings)

    @property
    def suite(self) -> Suite:
        return load_suite(self.definition, self.settings)

    def add(self, *records: dict[str, Any] | bytes) -> None:
        self._sink.write(kinesis_records(records, self._records, arrival=NOW), self._batches)
        self._batches, self._records = self._batches + 1, self._records + len(records)
        self._refine(self.definition)

    def silver(self) -> list[str]:
        with sql_session([self.definition], self.settings) as connection:
            return [name for (name,) in connection.sql("SELECT id FROM hostile.silver ORDER BY id").fetchall()]

    def quarantine(self) -> dict[bytes, list[str]]:
        rows = read(self.tables.quarantine, self.settings)
        return dict(zip(rows["data"].to_pylist(), rows["reasons"].to_pylist(), strict=True))

    def account(self) -> list[tuple[int, int, int, int, int]]:
        rows = read(self.tables.refine_log, self.settings).sort_by("ingest_batch")
        names = ["records", "events", "silver", "quarantined", "duplicates"]
        return list(zip(*(rows[name].to_pylist() for name in names), strict=True))

    def served(self) -> dict[date, tuple[int, str]]:
        rows = rows_of(query(pin(self.definition, self.definition.rollups[0], self.settings)))
        return {row["window_start"].date(): (row["n"], str(row["sum"])) for row in rows}

    def reprocess(self, spark: SparkSession, start: date = date.min, end: date = date.max) -> Any:
        return reprocess(
            spark, self.definition, self.suite, self.settings, start, end, wait_seconds=5, audit=False
        )  # fmt: skip


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "suite.json").write_bytes(orjson.dumps({"name": "hostile", "expectations": [], "meta": {}}))
    return settings.model_copy(update={"project_dir": tmp_path})


@pytest.fixture
def lake(settings: Settings, refine: Callable[..., None]) -> Callable[..., Hostile]:
    """Makes a lake of a definition."""

    def make(definition: Pipeline = PLAIN) -> Hostile:
        return Hostile(settings, refine, definition)

    return make


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"e{number}", "amount": "1.00", "at": f"{DAY}T12:00:00Z", **fields}


def test_no_record_stops_a_pipeline(spark: SparkSession, lake: Callable[..., Hostile]) -> None:
    here = lake()
    fine = [event(1), event(2, until="9999-12-31T23:59:59.999999Z", born="0001-01-01")]
    hostile = [
        event(10, at="0000-01-01T00:00:00Z"),
        event(11, at="0001-01-01T00:00:00Z"),
        event(12, at="-290308-12-21T20:00:00Z"),
        event(13, until="9999-12-31T23:59:59-05:00"),
        event(14, until="+280000-01-01T00:00:00Z"),
        event(15, born="19900-05-17"),
        event(16, born="-999999-01-01"),
        event(17, amount="1e-2000000000"),
        event(18, amount="1e-30000000"),
        event(19, at="12:34:56"),
    ]
    here.add(*fine, *hostile)
    here.add(event(3))
    assert here.silver() == ["e1", "e2", "e3"]
    assert sorted(orjson.loads(data)["id"] for data in here.quarantine()) == [f"e{n}" for n in range(10, 20)]
    assert here.account() == [(12, 12, 2, 10, 0), (1, 1, 1, 0, 0)]
    for _ in range(2):
        assert here.served() == {DAY: (3, "3.0000")}
        with sql_session([here.definition], here.settings) as connection:
            rows = connection.sql("SELECT n, until, born FROM hostile.daily").fetchall()
        assert rows == [(3, datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), date(1, 1, 1))]
        here.reprocess(spark)
    fold(spark, here.definition, here.settings, now=lambda: datetime.now(UTC) + timedelta(days=1))
    assert not any(row.failed for row in compact(here.definition, here.settings, min_files=1))
    assert reconcile(spark, here.definition, here.suite, here.settings, DAY, date(2026, 1, 2)).served == 0


def test_what_follows_the_first_document_is_never_lost(spark: SparkSession, lake: Callable[..., Hostile]) -> None:
    here = lake()
    records = [orjson.dumps(event(1)) + between + orjson.dumps(event(2)) for between in (b"", b"\n", b",")]
    records += [orjson.dumps(event(3)) + b" trailing words }}", b"[" + orjson.dumps(event(4)) + b"]"]
    here.add(*records, event(5))
    assert here.silver() == ["e5"]
    assert here.quarantine() == {**{record: ["trailing_text"] for record in records[:4]}, records[4]: ["not_an_object"]}
    assert here.account() == [(6, 6, 1, 5, 0)]


def test_numbers_and_nested_text_are_what_was_sent(spark: SparkSession, lake: Callable[..., Hostile]) -> None:
    here = lake()
    nested = '{"x": [1, 2.50,  -999.99999999999999995], "x":1}'
    here.add(
        f'{{"id": "a", "at": "{DAY}", "amount": 90071992547409.9301, "note": 1.10}}'.encode(),
        f'{{"id": 12345678901234567890123, "at": "{DAY}", "amount": 123456789012345678.25, "note": {nested}}}'.encode(),
    )
    for _ in range(2):
        rows = read(here.tables.silver, here.settings).sort_by("amount").select(["id", "amount", "note"])
        assert [[str(value) for value in row.values()] for row in rows.to_pylist()] == [
            ["a", "90071992547409.9301", "1.10"],
            ["12345678901234567890123", "123456789012345678.2500", nested],
        ]
        silver = spark.read.format("delta").load(here.tables.silver.uri)
        assert silver.where("amount = 123456789012345678.25BD").count() == 1, "statistics do not hide it"
        here.reprocess(spark)


@pytest.mark.parametrize("holds", ["lines", "array"])
def test_each_element_of_a_record_is_an_event_of_its_own(
    spark: SparkSession, lake: Callable[..., Hostile], holds: Any
) -> None:
    here = lake(pipeline(records=holds))

    def together(*parts: bytes) -> bytes:
        return b"\n".join(parts) + b"\n" if holds == "lines" else b"[" + b", ".join(parts) + b"]"

    good = [orjson.dumps(event(n)) for n in range(4)]
    changed = orjson.dumps(event(0, amount="7.00"))
    broken, whole = b'{"id": "e9"}', b"\xff"
    here.add(together(good[0], broken, good[1]), together(changed, good[2], good[0]), whole, together(good[3]))
    assert here.silver() == ["e0", "e1", "e2", "e3"]
    assert here.quarantine() == {broken: ["missing:at"], whole: ["not_utf8"]}
    assert here.account() == [(4, 8, 4, 2, 2)], "per record and per event"
    for _ in range(2):
        rows = read(here.tables.silver, here.settings).sort_by("id").to_pylist()
        assert [(row["id"], str(row["amount"]), row["event_ordinal"]) for row in rows] == [
            ("e0", "1.0000", 0), ("e1", "1.0000", 2), ("e2", "1.0000", 1), ("e3", "1.0000", 0),
        ]  # fmt: skip
        assert here.served() == {DAY: (4, "4.0000")}
        here.reprocess(spark)
    assert here.quarantine() == {broken: ["missing:at"], whole: ["not_utf8"]}
    assert reconcile(spark, here.definition, here.suite, here.settings, DAY, date(2026, 1, 2)).served == 0


def test_records_that_are_split_by_a_changed_definition_move_event_by_event(
    spark: SparkSession, lake: Callable[..., Hostile]
) -> None:
    here = lake()
    good = [orjson.dumps(event(n)) for n in range(5)]
    several = b"\n".join([good[0], b'{"id": "e9"}', good[1]])
    other_day = b"\n".join([good[2], orjson.dumps(event(3, at="2026-01-02T00:00:00Z")), b"oops"])
    here.add(several, other_day, good[4])
    assert here.silver() == ["e4"]
    assert here.quarantine() == {several: ["trailing_text"], other_day: ["trailing_text"]}
    here.definition = pipeline(records="lines")
    begin_generation(here.definition, here.suite, here.settings)
    assert here.reprocess(spark, DAY, date(2026, 1, 2)).reclassified == (2, 1)
    assert here.silver() == ["e0", "e1", "e2", "e4"]
    left = {b'{"id": "e9"}': ["missing:at"], b"oops": ["unparseable_json"]}
    assert here.quarantine() == {other_day: ["trailing_text"], **left}, "some of it belongs to another date"
    for _ in range(2):
        here.reprocess(spark)
        assert here.silver() == ["e0", "e1", "e2", "e3", "e4"]
        assert here.quarantine() == left
    assert here.served() == {DAY: (4, "4.0000"), date(2026, 1, 2): (1, "1.0000")}

    # And one of several lines that a rule lets in later.
    strict = pipeline(records="lines", required=["note"])
    here.definition = strict
    begin_generation(strict, here.suite, here.settings)
    here.reprocess(spark)
    assert (here.silver(), len(here.quarantine())) == ([], 7)
    here.definition = pipeline(records="lines")
    begin_generation(here.definition, here.suite, here.settings)
    assert here.reprocess(spark, date(2026, 1, 2), date(2026, 1, 3)).reclassified.recovered == 1
    assert (here.silver(), len(here.quarantine())) == (["e3"], 6)
    here.reprocess(spark)
    assert here.silver() == ["e0", "e1", "e2", "e3", "e4"]
    assert here.quarantine() == left

    # Back again: a record that breaks as a whole loses its events date by date, and is never in no table.
    here.definition = pipeline()
    begin_generation(here.definition, here.suite, here.settings)
    here.reprocess(spark, DAY, date(2026, 1, 2))
    assert here.silver() == ["e3", "e4"]
    assert {several, other_day} <= here.quarantine().keys()
    here.reprocess(spark)
    assert here.silver() == ["e4"]


def test_records_that_are_split_in_another_way_are_renumbered_all_at_once(
    spark: SparkSession, lake: Callable[..., Hostile]
) -> None:
    here = lake(pipeline(records="array"))
    array = b"[" + b",\n".join([orjson.dumps(event(0)), b'{"id": "e9"}', orjson.dumps(event(1))]) + b"]"
    here.add(array)
    before = {b'{"id": "e9"}': ["missing:at"]}
    assert (here.silver(), here.quarantine()) == (["e0", "e1"], before)
    here.definition = pipeline(records="lines")
    begin_generation(here.definition, here.suite, here.settings)
    tomorrow = orjson.dumps(event(5, at="2026-01-02T00:00:00Z"))
    here.add(b"\n".join([tomorrow, b"oops"]))

    # Dates without such records go their way, and leave those as they were judged.
    here.reprocess(spark, date(2026, 1, 2), date(2026, 1, 3))
    both = {**before, b"oops": ["unparseable_json"]}
    assert (here.silver(), here.quarantine()) == (["e0", "e1", "e5"], both)
    with pytest.raises(CoverageError, match=r"split in another way \(records=.*reprocess all \(--all\)"):
        here.reprocess(spark, DAY, date(2026, 1, 2))
    assert (here.silver(), here.quarantine()) == (["e0", "e1", "e5"], both)

    here.reprocess(spark)
    assert here.silver() == ["e5"], "no line of the array is an object"
    lines = {line.rstrip(b"\r"): None for line in array.split(b"\n")}
    assert here.quarantine().keys() == {*lines, b"oops"}, "the record's lines, and not its elements any more"
    assert here.reprocess(spark, DAY, date(2026, 1, 3)).reclassified == (0, 0), (
        "everything has this definition's numbers"
    )


def test_a_record_that_breaks_in_one_form_and_in_the_next_is_in_quarantine_as_the_form_in_force_splits_it(
    spark: SparkSession, lake: Callable[..., Hostile]
) -> None:
    here = lake()
    broken = b'{"id": "e1"}\n{"id": "e2"}'
    here.add(broken, event(3))
    assert here.quarantine() == {broken: ["trailing_text"]}
    for form, wanted in (
        ("lines", {line: ["missing:at"] for line in broken.split(b"\n")}),
        ("object", {broken: ["trailing_text"]}),
    ):
        here.definition = pipeline(records=form)
        begin_generation(here.definition, here.suite, here.settings)
        here.reprocess(spark)
        assert here.quarantine() == wanted
        assert here.reprocess(spark).reclassified == (0, 0)
        assert here.silver() == ["e3"]


def old_rows(
    here: Hostile, days: int, number: int, template: dict[str, pa.Table], others: dict[str, Any] | None = None
) -> None:
    """Put an event of a date into silver and the speed table, as streams of an older parser have."""
    micros = pa.scalar(days * 86_400_000_000, pa.timestamp("us", tz="UTC"))
    changed = {"at": micros, "max_event_time": micros, "pane_start": micros, "id": pa.scalar(f"e{number}")}
    changed |= {"event_date": pa.scalar(days, pa.date32()), **(others or {})}
    bronze = read(here.tables.bronze, here.settings)
    [record] = [row for row in bronze.to_pylist() if f'"e{number}"'.encode() in row["data"]]
    for table in (here.tables.silver, here.tables.speed["daily"]):
        row = template[table.name].select(table.schema.names)
        for at, field in enumerate(table.schema):
            told = pa.scalar(record[field.name], field.type) if field.name in record else row[field.name][0]
            row = row.set_column(at, field, pa.array([changed.get(field.name, told)], field.type))
        write_deltalake(open_table(table, here.settings), row.cast(table.schema), mode="append")


def test_tables_that_hold_impossible_dates_are_served_and_a_reprocess_takes_the_rows_out(
    spark: SparkSession, lake: Callable[..., Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(fingerprint, "PARSER_VERSION", 1)
        here = lake()
        beyond = {"born": pa.scalar(6_581_000, pa.date32()), "until": pa.scalar(2**58, pa.timestamp("us", tz="UTC"))}
        dates = {20: FIRST_OF_PYTHON - 366, 21: FIRST_OF_PYTHON - 800_000, 22: 3_672_000, 23: -197_000}
        times = {20: "0000-01-01T00:00:00Z", 21: "-2190-01-01", 22: "12023-08-12", 23: "1430-08-13"}
        here.add(event(1), event(24, born="19988-05-17"), *(event(n, at=at) for n, at in times.items()))
        open_table(here.tables.quarantine, here.settings).delete()
        written = (here.tables.silver, here.tables.speed["daily"])
        template = {table.name: read(table, here.settings).slice(0, 1) for table in written}
        for number, days in dates.items():
            old_rows(here, days, number, template)
        # Such a value in another column, of an event of a date like others.
        old_rows(
            here,
            (DAY - date(1970, 1, 1)).days,
            24,
            template,
            {**beyond, "born__max": beyond["born"], "until__max": beyond["until"]},
        )
    here.add(event(2))
    begin_generation(here.definition, here.suite, here.settings)
    assert here.silver() == ["e1", "e2", "e23", "e24"], "what no reader can hold is left out"
    odd = date(1970, 1, 1) + timedelta(days=dates[23])
    assert here.served() == {odd: (1, "1.0000"), DAY: (3, "3.0000")}
    with sql_session([here.definition], here.settings) as connection:
        assert connection.sql("SELECT count(*) FROM hostile.silver").fetchall() == [(4,)]
        assert connection.sql("SELECT sum(n) FROM hostile.daily").fetchall() == [(4,)]
        shown = rows_of(connection.sql("SELECT born, until FROM hostile.daily ORDER BY window_start").to_arrow_table())
    assert shown == [{"born": None, "until": None}, {"born": "19988-03-02", "until": "11103-08-29 17:22:31.711744Z"}]
    assert _dataset(open_table(here.tables.silver, here.settings), None).count_rows() == 4, "as on object stores"
    assert overview(here.definition, here.settings).health is not None
    assert not any(row.failed for row in compact(here.definition, here.settings, min_files=1))
    fold(spark, here.definition, here.settings, now=lambda: datetime.now(UTC) + timedelta(days=1))
    assert here.reprocess(spark, DAY, date(2026, 1, 2)).reclassified.quarantined == 1
    assert here.served() == {odd: (1, "1.0000"), DAY: (2, "2.0000")}
    done = here.reprocess(spark)
    assert done.reclassified.quarantined == 4
    assert here.silver() == ["e1", "e2"]
    assert here.served() == {DAY: (2, "2.0000")}
    assert sorted(reasons for [reasons] in here.quarantine().values()) == ["event_time_out_of_range"] * 4 + [
        "wrong_type:born"
    ]
    assert here.reprocess(spark).reclassified.quarantined == 0
    assert reconcile(spark, here.definition, here.suite, here.settings, DAY, date(2026, 1, 2)).served == 0
