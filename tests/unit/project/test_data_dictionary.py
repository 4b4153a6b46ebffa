"""The data dictionary is what the tables' definitions say."""

import sys
from pathlib import Path

import pytest

from tidemark.core.columns import MEANINGS
from tidemark.core.settings import Settings
from tidemark.lake.tables import tables_of
from tidemark.pipelines import load_pipelines

ROOT = Path(__file__).parents[3]


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "scripts")])
    from data_dictionary import page

    assert (ROOT / "docs" / "data-dictionary.md").read_text() == page(), "run `make docs`"


def test_each_column_that_tidemark_adds_has_its_meaning_and_no_other() -> None:
    columns: set[str] = set()
    for pipeline in load_pipelines().values():
        own = {column.name for column in pipeline.event_schema}
        own |= {name for rollup in pipeline.rollups for name in (*rollup.measures, *rollup.by)}
        for table in tables_of(pipeline, Settings(lake_uri="LAKE")):
            columns |= {name for name in table.schema.names if name not in own and "__" not in name}
    assert columns == set(MEANINGS)
