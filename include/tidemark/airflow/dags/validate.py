"""Check silver against the pipeline's suite of expectations, with Great Expectations.

One DAG per pipeline, ``<pipeline>.validate``. It runs over the dates that a reprocess has published, when silver's
asset has an event for them. When triggered by hand, it runs over *From* and *To*. If a critical expectation fails, the
run fails. The log shows every expectation with its figures and sample rows. The table `validations` and Data Docs keep
them, and `tidemark quality show` prints the newest.
"""

from airflow.sdk import dag

from tidemark.airflow.assets import table_asset
from tidemark.airflow.steps.forms import range_params
from tidemark.airflow.steps.planning import plan
from tidemark.airflow.steps.tasks import dag_arguments, over_range
from tidemark.definition import Pipeline


def validate_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(
        **dag_arguments(pipeline, "validate", [table_asset(pipeline, "silver")]),
        doc_md=__doc__,
        params=range_params(),
    )
    def validate() -> None:
        plan(pipeline.name) >> over_range("validate", pipeline)

    validate()
