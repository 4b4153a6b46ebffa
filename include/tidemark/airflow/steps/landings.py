"""The tasks that wait for files that land in S3, and put them into the pipeline's stream."""

from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tidemark.airflow.assets import stream_asset
from tidemark.airflow.aws import AWS_CONNECTION, kinesis_client, s3_client
from tidemark.airflow.steps.streams import KEPT_ALIVE
from tidemark.core.settings import get_settings
from tidemark.core.terminal import one_line
from tidemark.definition import Pipeline
from tidemark.pipelines import get_pipeline
from tidemark.pipelines.producers.landing import FileLeftError, Folder, LandingError, folder_of, landed, put_file

LOOK_SECONDS = 30
"""Between two looks whether a file has landed; each is one listing, by the triggerer."""
PATIENCE = timedelta(days=365)
"""How long a run waits for a file: nothing is wrong where none lands."""


def arrival(folder: Folder) -> BaseOperator:
    """The sensor that waits for a file, deferred: it takes no worker's slot."""
    # The provider takes a second to import, and DAGs are parsed all the time, mostly without a landing folder.
    from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor

    return S3KeySensor(
        task_id="arrival",
        bucket_name=folder.bucket,
        bucket_key=folder.pattern,
        wildcard_match=True,
        aws_conn_id=AWS_CONNECTION,
        deferrable=True,
        poke_interval=LOOK_SECONDS,
        timeout=PATIENCE.total_seconds(),
        retry_delay=timedelta(seconds=get_settings().retry_seconds),
        **KEPT_ALIVE,
    )


def put_landed(pipeline: Pipeline) -> Any:
    """The task that puts every file that has landed, the oldest first, and tells of it by the stream's asset."""
    name, stream = pipeline.name, stream_asset(pipeline)
    delay = timedelta(seconds=get_settings().retry_seconds)

    @task(task_id="put", outlets=[stream], retry_delay=delay, **KEPT_ALIVE)
    def put(outlet_events: Any = None) -> dict[str, Any]:
        """Put the files, and set them aside."""
        definition = get_pipeline(name)
        folder = folder_of(definition)
        if folder is None:
            raise AirflowFailException(f"pipeline {name!r} has no landing= any more, and soon no such DAG")
        s3, kinesis = s3_client(), kinesis_client(get_settings())
        files, records = 0, 0
        failed: list[str] = []
        left: list[str] = []
        for file in landed(s3, folder):
            try:
                produced = put_file(s3, kinesis, definition, folder, file)
            except LandingError as error:
                failed.append(str(error))
                print(one_line(str(error)))  # noqa: T201
                continue
            except FileLeftError as error:
                left.append(str(error))
                continue
            except Exception as error:
                if failed:  # they are gone from the folder: no later try would tell of them, and the next run goes on
                    raise AirflowFailException("; ".join([*failed, str(error)])) from error
                raise
            if produced is None:  # what is there now is in the next listing
                continue
            print(f"{one_line(file.key)}: {produced.records:,} records, {produced.bytes:,} bytes")  # noqa: T201
            files, records = files + 1, records + produced.records
        if failed or left:
            told = f"{files} files were put, {len(failed) + len(left)} were not: {'; '.join([*failed, *left])}"
            # Files that failed are gone from the folder: no later try would tell of them.
            raise AirflowFailException(told) if failed else AirflowException(told)
        figures = {"files": files, "records": records}
        outlet_events[stream].extra = figures
        return figures

    return put()
