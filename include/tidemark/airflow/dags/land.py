"""Put files that land in S3 into the stream.

One DAG, ``<pipeline>.land``, for each pipeline whose definition has a ``landing``. It waits, without using a worker,
until there is a file in that folder. Then it puts each line of each file into the pipeline's Kinesis stream as a
record. So late deliveries and files to be loaded again take the same way as all events. They pass the same rules, and
are in the next answer.

- A file that was put is moved to the folder of the same name with ``_done``. The files in the landing folder have
  still to be put. A file is put **at least once**: if a run dies, its file is put again. Silver holds each key once:
  the stream ensures this within the deduplication horizon, a reprocess over the whole date.
- A file that cannot be put (a damaged gzip, a line longer than a record may be) is moved to ``…_failed``. The run puts
  the other files, then fails with the reason. Lines that do not parse are quarantined by the stream, like every
  record.
- A file that S3 does not return, or does not allow to be moved, stays where it is. The other files are put. The task
  names the file and tries again.
- Write each file under a new name, and as a whole, as S3 does.

Credentials come from the connection *aws_default*, or else from AWS's default chain.
"""

from airflow.sdk import dag

from tidemark.airflow.steps.landings import arrival, put_landed
from tidemark.airflow.steps.tasks import dag_arguments
from tidemark.definition import Pipeline
from tidemark.pipelines.producers.landing import folder_of


def land_dag(pipeline: Pipeline) -> None:
    """The DAG of one pipeline; none if its definition has no ``landing``."""
    folder = folder_of(pipeline)
    if folder is None:
        return

    @dag(**dag_arguments(pipeline, "land", "@continuous"), doc_md=__doc__)
    def land() -> None:
        arrival(folder) >> put_landed(pipeline)

    land()
