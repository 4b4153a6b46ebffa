"""Put files that land in S3 into the stream.

One DAG a pipeline whose definition has a ``landing``, ``<pipeline>.land``. It waits, without a worker, until there is a
file in that folder, and puts each line of each file into the pipeline's Kinesis stream as a record. So late deliveries
and files to be loaded again come the way of all events, through the same rules, and are in the next answer.

- A file that was put is moved to the folder of the same name with ``_done``; what is in the landing folder is still to
  be put. It is put **at least once**: a run that dies puts its file again, and silver holds each key once (the stream
  within the deduplication horizon, a reprocess over all of the date).
- A file that cannot be put (a damaged gzip, a line longer than a record may be) is moved to ``…_failed``; the run fails
  and says why, after it has put the others. Lines that do not parse are quarantined by the stream, like every record.
- A file that S3 does not give, or does not let be moved, stays where it is; the others are put, and the task says which
  one it is, and tries again.
- Write a file under a new name each time, and whole, as S3 does.

Credentials are those of the connection *aws_default*, or else of AWS's default chain.
"""

from airflow.sdk import dag

from tidemark.airflow.steps.landings import arrival, put_landed
from tidemark.airflow.steps.tasks import dag_arguments
from tidemark.definition import Pipeline
from tidemark.pipelines import load_pipelines
from tidemark.pipelines.producers.landing import Folder, folder_of


def land_dag(pipeline: Pipeline, folder: Folder) -> None:
    """The DAG of one pipeline."""

    @dag(**dag_arguments(pipeline, "land", "@continuous"), doc_md=__doc__)
    def land() -> None:
        arrival(folder) >> put_landed(pipeline)

    land()


for definition in load_pipelines().values():
    if landing := folder_of(definition):
        land_dag(definition, landing)
