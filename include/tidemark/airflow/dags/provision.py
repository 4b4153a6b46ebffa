"""Create the Kinesis stream, and change its shards, capacity mode or retention.

One DAG per pipeline, ``<pipeline>.provision``, run by hand. If the stream does not exist, it is created with the
shards of the pipeline's definition, or with those of the form if the form sets them. If it exists, an empty field of
the form changes nothing. The run waits until the stream is ACTIVE with everything that was requested. Its return value
shows the values before and after. Running it twice is harmless.

- **Shards**: Kinesis can at most double or halve them in one step, ten times in 24 hours. The run takes as many steps
  as it needs. The streams continue meanwhile: they finish the old shards before they read the new ones.
- **On demand**: Kinesis gives the stream the shards that it needs. The mode may be changed twice in 24 hours.
- **Retention**: a shorter retention makes older records unreadable at once, even those that ingest has not read.

Credentials come from the connection *aws_default*, or else from AWS's default chain.
"""

from airflow.sdk import dag

from tidemark.airflow.steps.forms import provision_params
from tidemark.airflow.steps.provisioning import provision_stream, stream_before
from tidemark.airflow.steps.tasks import dag_arguments
from tidemark.definition import Pipeline


def provision_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline."""

    @dag(**dag_arguments(pipeline, "provision"), doc_md=__doc__, params=provision_params())
    def provision() -> None:
        stream_before(pipeline) >> provision_stream(pipeline)

    provision()
