"""What a changed definition asks for, object by object, also of one that was away."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sample_pipeline import make_pipeline, make_rollup

from tidemark.core.errors import DefinitionError
from tidemark.core.settings import Settings
from tidemark.definition import Count, Max, Pipeline, Rollup, Sum, Window
from tidemark.lake.commits import IdempotentWriter, set_transactions
from tidemark.lake.evolution import create_tables
from tidemark.lake.generations import Category, Change, History, begin_generation, plan, refuse_incompatible
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import REFINE_APP, generation_app
from tidemark.quality.suite import RowRule, Suite

NO_RULES = Suite("shops", {}, (), ())
BEFORE = make_pipeline()
HOURLY = Rollup("hourly", ["shop"], Window("1 hour"), {"visits": Count()})
WITH_HOURLY = make_pipeline(rollups=[*BEFORE.rollups, HOURLY])
DAYS = [date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 5)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(lake_uri=str(tmp_path / "lake"), state_uri=str(tmp_path / "state"))
    begin(BEFORE, made)
    return made


def begin(pipeline: Pipeline, settings: Settings, suite: Suite = NO_RULES) -> int:
    create_tables(tables_of(pipeline, settings), settings)
    return begin_generation(pipeline, suite, settings).number


def refined(pipeline: Pipeline, settings: Settings, number: int, days: list[date]) -> None:
    """As if refine had taken a micro-batch with an event of each date."""
    tables = tables_of(pipeline, settings)
    for table in tables.refined:
        rows: list[dict[str, Any]] = []
        if table.name == "silver":
            rows = [{"id": f"{number}-{day}", "event_date": day} for day in days]
        elif table.name == "refine_log":
            rows = [{"records": len(days), "event_dates": days}]
        rows = [{**row, "ingest_batch": number, "segment": 0} for row in rows]
        IdempotentWriter(table, settings).append(pa.Table.from_pylist(rows, schema=table.schema), number)


def told(changes: list[Change]) -> list[tuple[str, str, str]]:
    return [(str(change.object), change.change, str(change.category)) for change in changes]


def test_nothing_to_compare_with_asks_for_nothing(tmp_path: Path) -> None:
    empty = Settings(lake_uri=str(tmp_path / "lake"), state_uri=str(tmp_path / "state"))
    assert plan(BEFORE, NO_RULES, empty) == (None, [], [], False)
    create_tables(tables_of(BEFORE, empty), empty)
    assert plan(BEFORE, NO_RULES, empty) == (None, [], [], False)


def test_each_change_has_its_category_and_nothing_is_written(settings: Settings) -> None:
    refined(BEFORE, settings, 0, DAYS)
    assert plan(BEFORE, NO_RULES, settings) == ((0, -1), [], [], False)
    rule = RowRule("expect_column_values_to_be_null(open)", "open IS NOT NULL", "quarantine")
    measures = {name: measure for name, measure in BEFORE.rollups[0].measures.items() if name != "most"}
    after = make_pipeline(
        schema=BEFORE.schema.replace("open BOOLEAN", "colour STRING"),
        timezone="Europe/Berlin",
        rollups=[make_rollup(measures={**measures, "heaviest": Max("weight")}), HOURLY],
    )
    versions = {table.name: open_table(table, settings).version() for table in tables_of(BEFORE, settings)}
    found = plan(after, Suite("shops", {}, (rule,), ()), settings)
    assert told(found.changes) == [
        ("zone", "changed", "reprocess"),
        ("column colour", "new", "reprocess"),
        ("rule expect_column_values_to_be_null(open)", "new", "reprocess"),
        ("measure visits.heaviest", "new", "reprocess"),
        ("rollup hourly", "new", "nothing to do"),
        ("column open", "gone", "new events only"),
        ("measure visits.most", "gone", "new events only"),
    ]
    assert [str(days) for days in found.due] == ["2026-01-01 to 2026-01-02", "2026-01-05"]
    assert (found.moves, found.is_refused) == (True, False)
    assert {t.name: open_table(t, settings).version() for t in tables_of(BEFORE, settings)} == versions


def test_a_rollup_asks_for_no_reprocess_and_a_rule_for_the_dates_that_it_did_not_judge(settings: Settings) -> None:
    refined(BEFORE, settings, 0, DAYS)
    assert begin(WITH_HOURLY, settings) == 1
    history = History.of(WITH_HOURLY, settings)
    assert (history.judging.number, history.begun("hourly"), history.came_back("hourly")) == (0, 1, None)
    assert plan(WITH_HOURLY, NO_RULES, settings).due == []

    strict = make_pipeline(rollups=WITH_HOURLY.rollups, required=["shop"])
    assert [str(days) for days in plan(strict, NO_RULES, settings).due] == ["2026-01-01 to 2026-01-02", "2026-01-05"]
    assert begin(strict, settings) == 2, "also where a driver died before hourly was rolled up"
    refined(strict, settings, 1, [date(2026, 1, 9)])
    silver = tables_of(strict, settings).silver
    set_transactions(open_table(silver, settings), {generation_app(DAYS[0]): 2})
    assert [str(days) for days in plan(strict, NO_RULES, settings).due] == ["2026-01-02", "2026-01-05"]
    assert begin(make_pipeline(required=["shop"]), settings) == 3
    assert History.of(strict, settings).judging == (2, 0), "a rollup that goes judges nothing"


def test_a_rollup_that_comes_back_is_compared_with_what_it_was(settings: Settings) -> None:
    begin(WITH_HOURLY, settings)
    begin(BEFORE, settings)
    [change] = plan(WITH_HOURLY, NO_RULES, settings).changes
    assert (str(change.object), change.change, change.category) == ("rollup hourly", "back", Category.NOTHING)
    assert "rolled up anew" in change.what
    refuse_incompatible(WITH_HOURLY, NO_RULES, settings)
    for changed, reason in (
        (Rollup("hourly", ["open"], Window("1 hour"), {"visits": Count()}), "had other by"),
        (Rollup("hourly", ["shop"], Window("2 hours"), {"visits": Count()}), "had other window"),
        (Rollup("hourly", ["shop"], Window("1 hour"), {"visits": Count("amount")}), "'visits' was defined otherwise"),
    ):
        back = make_pipeline(rollups=[*BEFORE.rollups, changed])
        assert plan(back, NO_RULES, settings).is_refused
        with pytest.raises(DefinitionError, match=f"{reason}.*new name"):
            refuse_incompatible(back, NO_RULES, settings)
        with pytest.raises(DefinitionError, match=reason):
            begin(back, settings)
    assert begin(WITH_HOURLY, settings) == 3
    history = History.of(WITH_HOURLY, settings)
    assert (history.begun("hourly"), history.came_back("hourly"), history.came_back("visits")) == (3, 3, None)


def test_a_measure_that_comes_back_otherwise_is_refused(settings: Settings) -> None:
    begin(make_pipeline(rollups=[make_rollup(measures={"visits": Count()})]), settings)
    back = make_pipeline(rollups=[make_rollup(measures={"visits": Count(), "revenue": Sum("weight")})])
    [change] = plan(back, NO_RULES, settings).changes
    assert (str(change.object), change.category) == ("measure visits.revenue", Category.REFUSED)
    with pytest.raises(DefinitionError, match="measure 'revenue' was defined otherwise"):
        refuse_incompatible(back, NO_RULES, settings)
    same = make_pipeline(rollups=[make_rollup(measures={"visits": Count(), "revenue": Sum("amount")})])
    assert told(plan(same, NO_RULES, settings).changes) == [("measure visits.revenue", "back", "reprocess")]


def test_a_column_that_comes_back_with_another_type_is_refused(settings: Settings) -> None:
    begin(make_pipeline(schema=BEFORE.schema.replace("open BOOLEAN, ", "")), settings)
    [change] = plan(
        make_pipeline(schema=BEFORE.schema.replace("open BOOLEAN", "open STRING")), NO_RULES, settings
    ).changes
    assert (str(change.object), change.change, change.category) == ("column open", "back", Category.REFUSED)
    assert "silver holds it as" in change.what


def test_every_object_has_versions_with_the_part_of_the_log_that_each_was_in_force_for(settings: Settings) -> None:
    refined(BEFORE, settings, 4, DAYS)
    begin(WITH_HOURLY, settings)
    refined(WITH_HOURLY, settings, 9, DAYS)
    begin(BEFORE, settings)
    versions = {str(thing): some for thing, some in History.of(BEFORE, settings).versions().items()}
    [zone] = versions["zone"]
    assert (zone.value, zone.generation, zone.log.low, zone.is_newest) == ("UTC", 0, 0, True)
    there, gone = versions["rollup hourly"]
    assert (there.value, there.generation, there.log) == ({"by": ["shop"], "window": str(HOURLY.window)}, 1, (5, 9))
    assert (gone.value, gone.generation, gone.log.low, gone.is_newest) == (None, 2, 10, True)
    assert open_table(tables_of(BEFORE, settings).silver, settings).transaction_version(REFINE_APP) == 9
