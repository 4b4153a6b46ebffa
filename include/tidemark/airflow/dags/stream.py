"""Keep the streams alive: Kinesis to bronze, and bronze to silver and the speed tables.

One DAG per pipeline, ``<pipeline>.stream``. The pipeline's definition sets how the streams run:

- ``streams="continuous"``: one driver for as long as this DAG is on. A driver that dies, or shows no sign of life, is
  started again, with longer waits each time. After the last try the run fails, an alert is sent, and the next run
  begins.
- ``streams="scheduled"``: one driver at each time of ``streams_schedule``. It ends once it has read what there is.

Two drivers never work on one checkpoint: the second one is refused, and its log names the first. A driver ends within
seconds after its task or its task's supervisor is gone. Its micro-batch is written once or not at all.

**To stop** permanently, pause this DAG, then mark the task *stream* as failed, or run ``tidemark stop PIPELINE``. The
current micro-batch is finished. **To upgrade**, stop without pausing: the next run starts with the new code.
"""

from airflow.sdk import dag

from tidemark.airflow.steps.streams import stream_schedule, streams
from tidemark.airflow.steps.tasks import dag_arguments
from tidemark.definition import Pipeline


def stream_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(
        **dag_arguments(pipeline, "stream", stream_schedule(pipeline)),
        doc_md=__doc__,
    )
    def stream() -> None:
        streams(pipeline)

    stream()
