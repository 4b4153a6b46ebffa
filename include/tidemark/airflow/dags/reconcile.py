"""Compare what is served with a recomputation from bronze.

One DAG per pipeline, ``<pipeline>.reconcile``. It runs over the dates that a reprocess has published, when the assets
of all serving views have an event for them. When triggered by hand, it runs over *From* and *To*. It recomputes the
range from bronze alone, through the position in the log that the serving view states. It compares every pane with the
speed layer and with the serving view. If a served value differs, the run fails, and the log shows its pane, both
values and the likely cause. The run changes nothing, and the streams continue meanwhile.
"""

from airflow.sdk import dag

from tidemark.airflow.assets import serving_assets
from tidemark.airflow.steps.forms import range_params
from tidemark.airflow.steps.planning import plan
from tidemark.airflow.steps.tasks import dag_arguments, over_range
from tidemark.definition import Pipeline


def reconcile_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(
        **dag_arguments(pipeline, "reconcile", serving_assets(pipeline)),
        doc_md=__doc__,
        params=range_params(),
    )
    def reconcile() -> None:
        plan(pipeline.name) >> over_range("reconcile", pipeline)

    reconcile()
