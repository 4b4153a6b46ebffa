"""Fold the speed tables, compact the tables that have many small files, and remove files that no reader needs.

One DAG per pipeline, ``<pipeline>.compact``. It works beside the streams: where tables have segments, it
leaves the open one alone. Each step runs only if the tables' own statistics show that it is worthwhile:

- **Folding** removes the speed rows that the batch covers and merges the others, once they are older than *Grace
  period*.
- **OPTIMIZE** merges a table's small files, of the dates that have several, if this removes at least *Small files that
  pay*. It also arranges large dates of silver by the definition's `cluster_by`, exactly once.
- **VACUUM** removes files that belong to no version of the period *VACUUM keeps*, files that a killed reprocess staged,
  and old entries of the logs. It is refused if queries or a lagging stream could miss something.

No answer changes. The return value of the task contains rows and files before and after, and what was left as it is.
"""

from airflow.sdk import dag

from tidemark.airflow.steps.forms import compact_params
from tidemark.airflow.steps.tasks import dag_arguments, spark_job
from tidemark.definition import Pipeline


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
