"""Fold the speed tables, compact the tables that have gathered small files, and remove what nobody reads any more.

One DAG a pipeline, ``<pipeline>.compact``, in sealed segments only, where no stream writes, and each step only where
the tables' own statistics say that it pays:

- **Folding** removes the speed rows that the batch covers and merges the others, once they are older than *Grace
  period*.
- **OPTIMIZE** merges a table's small files, of the dates that have several, if that rids it of *Small files that
  pay*, and lays large dates of silver out by the definition's `cluster_by`, exactly once.
- **VACUUM** removes files that no version of the time *VACUUM keeps* holds, also what a killed reprocess staged, and
  old entries of the logs. It is refused where queries or a lagging stream could miss something.

Every answer stays as it is. The return value of the task holds rows and files before and after, and what was left
alone.
"""

from airflow.sdk import dag

from tidemark.airflow.steps.forms import compact_params
from tidemark.airflow.steps.tasks import dag_arguments, spark_job
from tidemark.definition import Pipeline
from tidemark.pipelines import load_pipelines


def compact_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(
        **dag_arguments(pipeline, "compact", "@hourly"),
        doc_md=__doc__,
        params=compact_params(),
    )
    def compact() -> None:
        chosen = [("--min-files", "min_files"), ("--grace", "grace"), ("--retention", "retention")]
        arguments = [text for option, name in chosen for text in (option, f"{{{{ params.{name} }}}}")]
        spark_job("compact", pipeline, arguments)

    compact()


for definition in load_pipelines().values():
    compact_dag(definition)
