"""Lineage: every asset of the DAGs is a dataset of OpenLineage's, and every Spark job says what it reads and writes."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidemark.core.settings import Settings, get_settings
from tidemark.lake.tables import tables_of
from tidemark.pipelines.clickstream import clickstream

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(autouse=True)
def _lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TIDEMARK_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def names(datasets: list[Any]) -> list[str]:
    return [dataset.name.rpartition("/clickstream/")[2] for dataset in datasets]


def test_airflow_itself_makes_datasets_of_the_assets(tmp_path: Path) -> None:
    from airflow.providers.openlineage.utils.utils import translate_airflow_asset

    from tidemark.airflow.assets import batch_assets, serving_assets, speed_assets, stream_asset, table_asset

    def named(asset: Any) -> tuple[str, str]:
        dataset = translate_airflow_asset(asset, None)
        return dataset.namespace, dataset.name

    assert named(stream_asset(clickstream)) == ("kinesis://us-east-1", "clickstream")
    tables = [table_asset(clickstream, "bronze"), *batch_assets(clickstream), *speed_assets(clickstream)]
    places = [f"{tmp_path}/lake/clickstream/{table}" for table in ("bronze", "batch_activity", "speed_activity")]
    assert [named(asset) for asset in tables] == [("file", place) for place in places]
    assert named(serving_assets(clickstream)[0]) == ("tidemark", "clickstream.activity")


def test_a_dataset_has_the_columns_of_the_definition() -> None:
    from tidemark.airflow.assets import serving_assets, table_asset
    from tidemark.airflow.lineage import dataset_of

    silver, view = dataset_of(table_asset(clickstream, "silver")), dataset_of(serving_assets(clickstream)[0])
    assert {"event_id", "value"} <= {field.name for field in silver.facets["schema"].fields}
    found = [(field.name, field.type) for field in view.facets["schema"].fields]
    assert found[:2] == [("event", "STRING"), ("window_start", "TIMESTAMP")]
    assert [name for name, _ in found[3:]] == ["events", "revenue", "users", "p95_value"]


def test_a_table_on_s3_is_named_by_its_bucket() -> None:
    from tidemark.airflow.lineage import table_name

    silver = tables_of(clickstream, Settings(lake_uri="s3://lake/of/ours")).silver
    assert table_name(silver) == ("s3://lake", "of/ours/clickstream/silver")


@pytest.mark.parametrize(
    ("job", "reads", "writes"),
    [
        ("stream", ["clickstream"], ["bronze", "silver", "quarantine", "speed_activity"]),
        ("reprocess", ["bronze"], ["silver", "batch_activity"]),
        ("validate", ["silver"], ["validations"]),
        ("reconcile", ["bronze", "clickstream.activity"], []),
        ("compact", [], []),
    ],
)
def test_a_job_says_what_it_reads_and_writes(job: str, reads: list[str], writes: list[str]) -> None:
    from tidemark.airflow.lineage import job_lineage

    found = job_lineage(job, "clickstream", get_settings(), {})
    assert (names(found.inputs), names(found.outputs)) == (reads, writes)
    assert not any(output.outputFacets for output in found.outputs), "how many rows is not known before it has ended"


def test_a_reprocess_that_has_ended_says_how_many_rows_it_wrote() -> None:
    from tidemark.airflow.lineage import job_lineage

    figures = {"silver_rows": 900, "batch_rows": {"activity": 30}}
    written = job_lineage("reprocess", "clickstream", get_settings(), figures).outputs
    rows = {output.name.rpartition("/")[2]: output.outputFacets["outputStatistics"].rowCount for output in written}
    assert rows == {"silver": 900, "batch_activity": 30}


def test_the_tasks_lead_from_the_stream_to_what_is_served() -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.providers.openlineage.extractors import ExtractorManager

    found = set()
    for operation in ("stream", "reprocess"):
        dag = DagBag(str(DAGS)).dags[f"clickstream.{operation}"]
        for task in dag.tasks:
            run = SimpleNamespace(run_id="r")
            told = ExtractorManager().extract_metadata(run, task, "success", None)
            found |= set(product(names(told.inputs), names(told.outputs)))
    assert found == {
        *(("clickstream", table) for table in ("bronze", "silver", "quarantine", "speed_activity")),
        *(("bronze", table) for table in ("silver", "batch_activity")),
        ("silver", "batch_activity"),
        ("batch_activity", "clickstream.activity"),
        ("speed_activity", "clickstream.activity"),
    }
