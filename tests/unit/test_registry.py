"""The registry finds each pipeline once, and refuses two of one name."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sample_pipeline import make_pipeline

from tidemark.errors import DefinitionError
from tidemark.registry import collect, get_pipeline, load_pipelines
from tidemark.settings import get_settings

DEFINITION = """
from tidemark.definition import Count, KinesisStream, Pipeline, Rollup, Window

pipeline = Pipeline(
    name="{name}", source=KinesisStream("{name}"), schema="id STRING, at TIMESTAMP", event_time="at", key=["id"],
    rollups=[Rollup("daily", by=[], window=Window("1 day"), measures={{"events": Count()}})],
    suite="expectations/{name}.json",
)
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def module(name: str, **members: object) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made


def test_the_pipelines_of_the_package_are_found() -> None:
    assert {"clickstream", "flights"} <= set(load_pipelines())


def test_one_new_file_is_a_new_pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "taxis.py").write_text(DEFINITION.format(name="taxis"))
    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(tmp_path))
    assert get_pipeline("taxis").source.name == "taxis"


def test_an_unknown_pipeline_lists_those_that_are_known() -> None:
    with pytest.raises(DefinitionError, match="no such pipeline; known are clickstream, flights"):
        get_pipeline("nope")


def test_two_pipelines_of_one_name_are_refused_with_both_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "copy_of_flights.py").write_text(DEFINITION.format(name="flights"))
    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(tmp_path))
    with pytest.raises(DefinitionError, match=r"'flights'.*defined twice, in .*flights\.py and .*copy_of_flights\.py"):
        load_pipelines()


def test_a_pipeline_that_is_imported_into_another_module_counts_once() -> None:
    pipeline = make_pipeline()
    found = collect(iter([module("first", shops=pipeline), module("second", imported=pipeline, number=3)]))
    assert found == {"shops": pipeline}


def test_two_definitions_of_one_name_in_two_modules_are_refused() -> None:
    with pytest.raises(DefinitionError, match="is defined twice, in first and second: rename one"):
        collect(iter([module("first", a=make_pipeline()), module("second", b=make_pipeline(key=["shop"]))]))


def test_a_slide_that_does_not_divide_evenly_is_a_definition_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uneven.py").write_text(
        "from tidemark.definition import Window\nWindow('10 minutes', every='3 minutes')\n"
    )
    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(tmp_path))
    with pytest.raises(DefinitionError, match=r"uneven\.py: .*must divide the length evenly"):
        load_pipelines()
