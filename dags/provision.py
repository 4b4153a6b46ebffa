"""Create the Kinesis stream, and change its shards, capacity mode or retention.

One DAG a pipeline, ``<pipeline>.provision``, run by hand. A stream that does not exist is created, with the shards of
the pipeline's definition unless the form says otherwise. Of one that exists, what the form leaves empty stays as it is.
The run waits until the stream is ACTIVE with all that was asked for; its return value says what it was before and is
now. Running it twice is harmless.

- **Shards**: Kinesis at most doubles or halves them at a time, ten times in 24 hours, and the run takes as many steps
  as it needs. The streams go on meanwhile: they finish the old shards before they read the new ones.
- **On demand**: Kinesis gives the stream the shards that it needs; the mode may be changed twice in 24 hours.
- **Retention**: a shorter one makes older records unreadable at once, also those that ingest has not read.

Credentials are those of the connection *aws_default*, or else of AWS's default chain.
"""

from airflow.sdk import dag

from tidemark.airflow.steps.forms import provision_params
from tidemark.airflow.steps.provisioning import provision_stream, stream_before
from tidemark.airflow.steps.tasks import dag_arguments
from tidemark.definition import Pipeline
from tidemark.pipelines import load_pipelines


def provision_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(**dag_arguments(pipeline, "provision"), doc_md=__doc__, params=provision_params())
    def provision() -> None:
        stream_before(pipeline) >> provision_stream(pipeline)

    provision()


for definition in load_pipelines().values():
    provision_dag(definition)
