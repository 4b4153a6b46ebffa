"""The DAGs: which there are, how they are ordered, and what their forms accept."""

import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from tidemark.airflow.steps.ranges import plan_range
from tidemark.core.errors import TidemarkError
from tidemark.pipelines import get_pipeline

DAGS = Path(__file__).resolve().parents[2] / "dags"
OPERATIONS = ("compact", "provision", "reconcile", "reprocess", "stream", "validate", "watch")
TODAY = date(2026, 3, 1)


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS))
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_there_is_a_dag_a_pipeline_and_operation(dags: dict[str, Any]) -> None:
    assert sorted(dags) == [f"{pipeline}.{o}" for pipeline in ("clickstream", "flights") for o in OPERATIONS]


def test_a_reprocess_is_planned_and_approved_first(dags: dict[str, Any]) -> None:
    dag = dags["flights.reprocess"]
    assert {task: sorted(dag.get_task(task).downstream_task_ids) for task in dag.task_ids} == {
        "plan": ["approve"],
        "approve": ["reprocess"],
        "reprocess": ["batch_tables"],
        "batch_tables": ["serving_views"],
        "serving_views": [],
    }


def test_every_task_is_tried_again_as_its_scheduler_may_be_lost(dags: dict[str, Any]) -> None:
    assert [task for dag in dags.values() for task in dag.tasks if not task.retries] == []


def test_what_dag_files_import_is_imported_once_where_their_processes_are_forked_from() -> None:
    from tidemark.airflow.ui.preload import MODULES

    imports = re.compile(r"^from (tidemark\.airflow\.[\w.]+) import", re.MULTILINE)
    imported = {name for file in DAGS.glob("*.py") for name in imports.findall(file.read_text())}
    assert imported
    assert imported <= set(MODULES)


def test_every_dag_explains_itself_and_only_reprocess_runs_several_times_at_once(dags: dict[str, Any]) -> None:
    for name, dag in dags.items():
        assert dag.doc_md
        assert dag.description == get_pipeline(name.split(".")[0]).description
        assert (dag.max_active_runs > 1) == name.endswith(".reprocess")
        assert dag.catchup is False


def test_spark_drivers_share_one_pool_and_every_field_of_a_form_says_what_it_is(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert all(t.pool == "tidemark_spark" for t in dag.tasks if t.task_type == "SparkJob")
        assert all(dag.params.get_param(name).description for name in dag.params)


def test_jobs_get_their_arguments_as_a_list_and_not_through_a_shell(dags: dict[str, Any]) -> None:
    task = dags["flights.reprocess"].get_task("reprocess")
    assert task.application_args[:3] == ["--pipeline", "flights", "--from"]


def test_parsing_imports_no_spark_and_a_third_pipeline_gets_its_dags(tmp_path: Path) -> None:
    source = (DAGS.parent / "include/tidemark/pipelines/clickstream.py").read_text()
    (tmp_path / "third.py").write_text(source.replace('"clickstream"', '"third"').replace("clickstream = ", "third = "))
    program = (
        "import sys; from airflow.dag_processing.dagbag import DagBag; "
        f"bag = DagBag({str(DAGS)!r}); assert not bag.import_errors, bag.import_errors; "
        "print(sorted(bag.dags), 'pyspark' in sys.modules, 'great_expectations' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TIDEMARK_PIPELINES_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    third = ", ".join(f"'third.{operation}'" for operation in OPERATIONS)
    assert done.stdout.strip().endswith(f"{third}] False False")


def test_a_parse_for_one_task_makes_the_dag_of_that_task_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.definitions.context import _AIRFLOW_PARSING_CONTEXT_DAG_ID

    # As the task runner does; its own context manager leaves the variable set, which tests that follow would see.
    monkeypatch.setenv(_AIRFLOW_PARSING_CONTEXT_DAG_ID, "flights.reprocess")
    assert list(DagBag(str(DAGS)).dags) == ["flights.reprocess"]


def test_the_dag_file_is_three_lines_and_its_dags_are_of_that_file(dags: dict[str, Any]) -> None:
    [file] = DAGS.glob("*.py")
    assert len([line for line in file.read_text().splitlines() if line]) == 3
    assert {dag.fileloc for dag in dags.values()} == {str(file)}


def test_a_wrong_definition_is_the_import_error_of_the_dag_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(tmp_path / "absent"))
    [message] = DagBag(str(DAGS)).import_errors.values()
    assert "is not there: make it, or correct or unset TIDEMARK_PIPELINES_DIR" in message


def test_a_form_with_both_dates_is_taken_as_it_is() -> None:
    assert plan_range("2013-01-01", "2013-02-01", None, None, TODAY) == (date(2013, 1, 1), date(2013, 2, 1))


def test_an_empty_form_takes_the_data_interval() -> None:
    interval = (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC))
    assert plan_range(None, None, *interval, TODAY) == (date(2026, 2, 1), date(2026, 2, 2))


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2013-01-01", None, "give both"),
        ("2013-02-01", "2013-01-01", "is empty"),
        ("2013-01-01", "2013-01-01", "is empty"),
        ("2011-01-01", "2013-01-01", "more than 400 days"),
        ("2027-01-01", "2027-01-02", "into the future"),
        ("2026-03-01", "2026-12-01", "into the future"),
        ("2013-01-01'; DROP", "2013-01-02", "are dates like"),
        (None, None, "no data interval"),
    ],
)
def test_a_wrong_form_is_refused_with_its_reason(start: str | None, end: str | None, message: str) -> None:
    with pytest.raises(TidemarkError, match=message):
        plan_range(start, end, None, None, TODAY)


def test_the_assets_read_like_the_architecture(dags: dict[str, Any]) -> None:
    tasks = [task for name in ("stream", "reprocess") for task in dags[f"clickstream.{name}"].tasks]
    edges = {(a.name, b.name) for task in tasks for a in task.inlets for b in task.outlets}
    assert edges == {
        ("clickstream.kinesis", "clickstream.bronze"),
        ("clickstream.kinesis", "clickstream.speed_activity"),
        ("clickstream.bronze", "clickstream.silver"),
        ("clickstream.silver", "clickstream.batch_activity"),
        ("clickstream.batch_activity", "clickstream.activity"),
        ("clickstream.speed_activity", "clickstream.activity"),
    }
    assert "clickstream.silver" in str(dags["clickstream.validate"].timetable.asset_condition)
    assert "clickstream.activity" in str(dags["clickstream.reconcile"].timetable.asset_condition)


def test_a_definition_says_how_its_streams_run(dags: dict[str, Any]) -> None:
    task = dags["flights.stream"].get_task("stream")
    assert dags["flights.stream"].schedule == "@continuous"
    assert task.application_args == ["--pipeline", "flights"]
    assert task.retries > 1
    assert task.retry_exponential_backoff
