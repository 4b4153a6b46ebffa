"""Each pipeline is found once, and two of one name are refused."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sample_pipeline import make_pipeline

from tidemark.core.errors import DefinitionError
from tidemark.core.settings import get_settings
from tidemark.pipelines import collect, get_pipeline, load_pipelines
from tidemark.quality import load_suite

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


TOGETHER = """
from __future__ import annotations
from dataclasses import dataclass

from tidemark.definition import KinesisStream, Pipeline
from {helper} import KEY

@dataclass(frozen=True)
class Region:
    name: str

pipelines = [
    Pipeline(name=f"taxis_{{region.name}}", source=KinesisStream(f"taxis-{{region.name}}"), key=KEY,
             schema="id STRING, at TIMESTAMP", event_time="at", rollups=[], suite="expectations/taxis.json")
    for region in (Region("north"), Region("south"))
]
"""


def test_a_list_of_pipelines_with_dataclasses_and_a_module_beside_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "shared_taxi_parts.py").write_text("KEY = ['id']\n")
    (tmp_path / "taxis.py").write_text(TOGETHER.format(helper="shared_taxi_parts"))
    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(tmp_path))
    assert {"taxis_north", "taxis_south"} <= set(load_pipelines())


def test_a_folder_of_pipelines_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(tmp_path / "absent"))
    with pytest.raises(DefinitionError, match=r"pipelines folder .*absent: is not there: .*TIDEMARK_PIPELINES_DIR"):
        load_pipelines()


def test_a_folder_without_a_pipeline_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("KEY = ['id']\n")
    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(tmp_path))
    with pytest.raises(DefinitionError, match=r"holds no pipeline: add .* or correct or unset TIDEMARK_PIPELINES_DIR"):
        load_pipelines()


def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Path:
    """A package of definitions inside another one, which the settings name."""
    folder = tmp_path / name / "pipelines"
    (folder / "expectations").mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TIDEMARK_PIPELINES_PACKAGE", f"{name}.pipelines")
    return folder


def test_the_definitions_of_a_package_are_found_with_their_suites_and_alone_if_so_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = package(tmp_path, monkeypatch, "acme_of_taxis")
    (folder / "taxis.py").write_text(DEFINITION.format(name="taxis"))
    (folder / "expectations" / "taxis.json").write_text('{"name": "taxis", "expectations": [], "meta": {}}')
    assert set(load_pipelines()) == {"clickstream", "flights", "taxis"}
    monkeypatch.setenv("TIDEMARK_SAMPLE_PIPELINES", "false")
    get_settings.cache_clear()
    assert list(load_pipelines()) == ["taxis"]
    assert load_suite(get_pipeline("taxis"), get_settings()).name == "taxis"


def test_a_package_that_is_missing_or_has_no_pipeline_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package(tmp_path, monkeypatch, "acme_of_nothing")
    with pytest.raises(DefinitionError, match=r"package acme_of_nothing\.pipelines: holds no pipeline"):
        load_pipelines()
    monkeypatch.setenv("TIDEMARK_PIPELINES_PACKAGE", "acme_of_nowhere.pipelines")
    get_settings.cache_clear()
    with pytest.raises(DefinitionError, match=r"cannot be imported: install it, or .* TIDEMARK_PIPELINES_PACKAGE"):
        load_pipelines()


def test_no_pipeline_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_SAMPLE_PIPELINES", "false")
    with pytest.raises(DefinitionError, match="there is no pipeline: set TIDEMARK_PIPELINES_DIR or"):
        load_pipelines()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nx = (\n", r"broken\.py, line 2: .*never closed"),
        ("x = 1\n\ny = x / 0\n", r"broken\.py, line 3: ZeroDivisionError: division by zero"),
        ("import no_such_module_anywhere\n", r"broken\.py, line 1: ModuleNotFoundError: No module named"),
    ],
)
def test_a_broken_file_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(tmp_path))
    with pytest.raises(DefinitionError, match=message):
        load_pipelines()
