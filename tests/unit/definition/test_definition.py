"""A definition with a mistake says what is wrong, where, and names what is known; all mistakes at once."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sample_pipeline import make_pipeline, make_rollup

from tidemark.core.columns import RESERVED_FOR_EVENTS, RESERVED_FOR_MEASURES
from tidemark.core.errors import DefinitionError
from tidemark.core.settings import Settings
from tidemark.definition import (
    ApproxDistinct,
    Count,
    CountIf,
    KinesisStream,
    Mean,
    Quantile,
    SessionWindow,
    Sum,
    Window,
)
from tidemark.definition.schema import parse_ddl
from tidemark.definition.window import parse_duration
from tidemark.lake.tables import Table, Tables, tables_of


def test_a_valid_definition_has_no_problem() -> None:
    pipeline = make_pipeline()
    assert pipeline.event_schema.names == ("id", "shop", "amount", "open", "weight", "at")
    assert pipeline.rollup("visits").window.panes == 2


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"event_time": "when"}, "event_time: unknown column 'when'; the schema has id, shop"),
        ({"event_time": "shop"}, "event_time 'shop' must be a TIMESTAMP, but is STRING"),
        ({"key": ["uuid"]}, "key: unknown column 'uuid'"),
        ({"key": []}, "key names no column"),
        ({"required": ["nope"]}, "required: unknown column 'nope'"),
        ({"name": "My Shops"}, "a name is lower-case letters, digits and underscores"),
        ({"source": KinesisStream("no spaces")}, "'no spaces' is not the name of a Kinesis stream"),
        (
            {"schema": "id STRING, at TIMESTAMP, segment BIGINT"},
            "column 'segment' has a name that Tidemark uses itself",
        ),
        ({"schema": "id STRING, at TIMESTAMP, `Big` INT"}, "column 'Big': a name is lower-case"),
        ({"schema": "id STRING, at TIMESTAMP, n ARRAY<INT>"}, "column 'n' has type ARRAY<INT>; known are STRING"),
        ({"schema": "id STRING, id STRING, at TIMESTAMP"}, "columns named twice: id"),
        ({"schema": ""}, "schema"),
        ({"schema": "id STRING,, ((("}, "not a DDL column list"),
        ({"rollups": [make_rollup(), make_rollup()]}, "two rollups are called 'visits'"),
        ({"rollups": [make_rollup(by=["city"])]}, "rollup 'visits': unknown column 'city'"),
        ({"rollups": [make_rollup(name="Visits!")]}, "rollup 'Visits!': a name is lower-case"),
        ({"rollups": [make_rollup(measures={})]}, "rollup 'visits': has no measure"),
        ({"rollups": [make_rollup(measures={"s": Sum("shop")})]}, "Sum('shop') needs a number, but shop is STRING"),
        ({"rollups": [make_rollup(measures={"m": Mean("at")})]}, "Mean('at') needs a number, but at is TIMESTAMP"),
        ({"rollups": [make_rollup(measures={"c": CountIf("shop")})]}, "CountIf('shop') needs a BOOLEAN"),
        ({"rollups": [make_rollup(measures={"q": Quantile("amount", 95)})]}, "the rank must be within 0 and 1"),
        ({"rollups": [make_rollup(measures={"q": Quantile("shop", 0.5)})]}, "Quantile('shop') needs a number"),
        ({"rollups": [make_rollup(measures={"u": ApproxDistinct("who")})]}, "measure 'u': unknown column 'who'"),
        ({"rollups": [make_rollup(measures={"shop": Count()})]}, "measure 'shop' has the name of another column"),
        ({"rollups": [make_rollup(measures={"final": Count()})]}, "measure 'final' has the name of another column"),
        ({"rollups": [make_rollup(measures={"a__b": Count()})]}, "single underscores"),
        ({"rollups": [make_rollup(measures={"newest_event": Count()})]}, "has the name of another column"),
        ({"rollups": [make_rollup(by=["shop", "shop"])]}, "by names 'shop' twice; name it once"),
        ({"schema": "id STRING, at TIMESTAMP, n DECIMAL(39,2)"}, "a DECIMAL(p,s) has 1 <= p <= 38 digits"),
        ({"schema": "id STRING, at TIMESTAMP, n DECIMAL(4,5)"}, "a DECIMAL(p,s) has 1 <= p <= 38 digits"),
        ({"rollups": [make_rollup(name="silver")]}, "rollup 'silver': is named as a table of Tidemark's own"),
        ({"rollups": [make_rollup(name="batch_visits")]}, "choose another name for it"),
        ({"name": "main"}, "is the name of a schema that DuckDB has itself; choose another"),
        ({"cluster_by": ["city"]}, "cluster_by: unknown column 'city'"),
        ({"cluster_by": ["shop", "shop"]}, "cluster_by names 'shop' twice; name it once"),
        ({"cluster_by": ["id", "shop", "amount", "open", "at"]}, "cluster_by names 5 columns; a curve through more"),
        ({"timezone": "Europe/Berln"}, "'Europe/Berln' is not an IANA time zone; write one such as 'Europe/Berlin'"),
        ({"timezone": "+02:00"}, "timezone '+02:00' is not an IANA time zone"),
        ({"timezone": "CET"}, "timezone 'CET' is not an IANA time zone"),
    ],
)
def test_a_mistake_is_named(replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make_pipeline(**replaced)
    assert message in str(caught.value)
    assert str(caught.value).startswith("pipeline ")


def test_all_mistakes_are_listed_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        make_pipeline(name="Shops", key=["uuid"], rollups=[make_rollup(by=["city"], measures={"s": Sum("shop")})])
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("name", sorted(RESERVED_FOR_EVENTS))
def test_no_event_column_may_have_the_name_of_one_of_ours(name: str) -> None:
    with pytest.raises(DefinitionError, match="Tidemark uses itself"):
        make_pipeline(schema=f"id STRING, at TIMESTAMP, {name} STRING", rollups=[])


def test_the_names_of_ours_are_those_of_the_tables_and_no_others_are_refused(settings: Settings) -> None:
    made = make_pipeline()
    own = {name for table in every_event_table(tables_of(made, settings)) for name in table.schema.names}
    of_definition = {*made.event_schema.names, *(s.column for r in made.rollups for s in r.states(made.event_schema))}
    stored = {kept.column for rollup in made.rollups for kept in rollup.stored(made.timezone).values()}
    assert own - of_definition - stored <= RESERVED_FOR_EVENTS
    for name in ("records", "events", "order", "select", "date", "value", "c__count"):
        make_pipeline(schema=f"id STRING, at TIMESTAMP, `{name}` STRING", rollups=[])
    measures = dict.fromkeys(["events", "data", "records", "order", "stream"], Count())
    assert not RESERVED_FOR_MEASURES & set(measures)
    make_pipeline(rollups=[make_rollup(measures=measures)])


def every_event_table(tables: Tables) -> list[Table]:
    return [tables.bronze, tables.silver, tables.quarantine, *tables.speed.values(), *tables.batch.values()]


def test_a_key_and_what_is_kept_of_a_measure_do_not_share_a_name() -> None:
    schema = "id STRING, at TIMESTAMP, shop__count STRING"
    with pytest.raises(DefinitionError, match=r"by names 'shop__count', which is also what is kept of measure 'shop'"):
        make_pipeline(schema=schema, rollups=[make_rollup(by=["shop__count"], measures={"shop": Count()})])


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"earliest": date(999, 12, 31)}, "the earliest that it may be is 1000-01-01"),
        ({"max_future": "40000 days"}, "at most it may be 36,525"),
        ({"records": "csv"}, "'object', 'lines' or 'array'"),
    ],
)
def test_event_times_stay_within_what_every_reader_can_hold(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises((DefinitionError, ValidationError), match=problem):
        make_pipeline(**changed)
    assert make_pipeline(earliest="1900-01-01").earliest == date(1900, 1, 1)


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises((TypeError, ValidationError), match="retention"):
        make_pipeline(retention="1 day")


def test_an_unknown_rollup_lists_those_that_exist() -> None:
    with pytest.raises(DefinitionError, match="no rollup 'sales'; it has visits"):
        make_pipeline().rollup("sales")


@pytest.mark.parametrize("text", ["ten minutes", "10", "10 parsecs", "-5 minutes", "1.5 hours", "0 seconds"])
@pytest.mark.parametrize("window", [Window, SessionWindow])
def test_a_bad_duration_is_refused(window: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValidationError, match="duration"):
        window(text)


def test_a_duration_below_a_second_is_refused_and_not_taken_for_none() -> None:
    with pytest.raises(ValidationError, match="whole seconds"):
        SessionWindow(timedelta(milliseconds=1500))


def test_a_time_zone_is_a_place_or_utc() -> None:
    assert [make_pipeline(timezone=name).timezone for name in ("UTC", "Asia/Kathmandu", "America/Argentina/Ushuaia")]
    assert make_pipeline().timezone == "UTC"


@pytest.mark.parametrize(
    ("window", "days"), [(Window("2 days", every="1 day"), 1), (Window("1 day", every="6 hours"), 0)]
)
def test_only_panes_of_whole_days_follow_the_calendar(window: Window, days: int) -> None:
    assert window.days == days


@given(st.integers(1, 10_000), st.sampled_from(["second", "minute", "hour", "day"]), st.sampled_from(["", "s"]))
def test_a_duration_is_read_in_its_unit(number: int, unit: str, plural: str) -> None:
    assert parse_duration(f" {number} {unit}{plural} ") == timedelta(**{f"{unit}s": number})


@given(st.integers(1, 500), st.integers(1, 500))
def test_a_slide_must_divide_the_window_evenly(length: int, slide: int) -> None:
    if length % slide:
        with pytest.raises(ValidationError, match="must divide the length evenly"):
            Window(timedelta(seconds=length), every=timedelta(seconds=slide))
    else:
        window = Window(timedelta(seconds=length), every=timedelta(seconds=slide))
        assert window.panes * window.pane == window.length


def test_a_tumbling_window_is_one_pane() -> None:
    window = Window("1 day")
    assert (window.pane, window.panes) == (timedelta(days=1), 1)


@given(st.integers(1, 38).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p))))
def test_a_decimal_keeps_its_precision_and_scale_in_arrow(precision_and_scale: tuple[int, int]) -> None:
    precision, scale = precision_and_scale
    column = parse_ddl(f"n DECIMAL({precision}, {scale})")["n"]
    assert (column.arrow.precision, column.arrow.scale, column.scale) == (precision, scale, scale)


@pytest.mark.parametrize(
    ("ddl", "message"),
    [
        ("id STRING NOT NULL", r"'id' says NOT NULL, which .* goes into required="),
        ("n INT DEFAULT 3", "'n' says DEFAULT 3"),
        ("t TIME", "'t' has type TIME; known are STRING"),
        ("t DATETIME", "'t' has type DATETIME; known are STRING"),
        ("id STRING, PRIMARY KEY (id)", r"says PRIMARY KEY \(id\), which it cannot hold to"),
    ],
)
def test_what_a_schema_cannot_hold_to_is_refused(ddl: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_ddl(ddl)


def test_a_comment_on_a_column_is_for_people() -> None:
    assert [column.type.sql for column in parse_ddl("id STRING COMMENT 'of the till', at TIMESTAMP")] == [
        "STRING",
        "TIMESTAMP",
    ]
