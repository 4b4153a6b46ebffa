"""Commands that run Spark jobs, here and now, by the same spark-submit that the DAGs use."""

import signal
import subprocess
import time
from typing import Annotated

import typer

from tidemark.core.errors import TRY_AGAIN, JobError, TidemarkError
from tidemark.core.extras import require
from tidemark.core.settings import get_settings
from tidemark.core.terminal import plain_console, printable
from tidemark.embedded.parts import MAX_ENDS, Backoff
from tidemark.pipelines import get_pipeline

PipelineArgument = Annotated[str, typer.Argument(help="Name of the pipeline.")]
FromOption = Annotated[str, typer.Option("--from", help="First event date, such as 2013-01-01.")]
ToOption = Annotated[str, typer.Option("--to", help="The event date after the last one (exclusive).")]

_KILLED = (128 + signal.SIGKILL, 128 + signal.SIGTERM)
"""Exit codes of spark-submit whose Python driver was killed."""


class TransientJobError(JobError):
    """A job ended for a cause that may be gone the next time: its driver was killed, or it says so itself."""


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    for command in (jars, stream, stop, reprocess, compact, validate, reconcile):
        app.command()(command)


def submit(job: str, arguments: list[str]) -> None:
    """Run a job of spark/jobs; ``arguments`` begin with ``--pipeline`` and its name. Raises JobError if it fails."""
    from tidemark.core.spark_start.conf import java_executable, submit_command, submit_environment
    from tidemark.core.spark_start.jars import ensure_jars

    settings = get_settings()
    require("pyspark", "pyspark_kinesis", "great_expectations")
    java_executable()
    ensure_jars(settings, plain_console(stderr=True).print)
    get_pipeline(arguments[1])
    done = subprocess.run(submit_command(job, arguments, settings), env=submit_environment(settings), check=False)
    if done.returncode < 0:
        raise TransientJobError(f"the driver of the {job} job was ended by {signal.Signals(-done.returncode).name}")
    if done.returncode in (TRY_AGAIN, *_KILLED):
        raise TransientJobError(f"the {job} job ended with exit code {done.returncode}; its output above says why")
    if done.returncode:
        raise JobError(f"the {job} job ended with exit code {done.returncode}; its output above says why")


def _given(option: str, value: str | None) -> list[str]:
    return [] if value is None else [option, value]


def jars(
    archive: Annotated[bool, typer.Option(help="Archive Spark's classes for faster starts (200 MB).")] = True,
) -> None:
    """Resolve the Delta jars into the project's own folder, and archive the classes that Spark loads (once)."""
    from tidemark.core.spark_start.cds_archive import ensure_class_archive
    from tidemark.core.spark_start.jars import ensure_jars

    settings, say = get_settings(), plain_console(stderr=True).print
    require("pyspark")
    found = ensure_jars(settings, say)
    say(f"{len(found)} Delta jars in {settings.jars_dir}")
    if archive and (made := ensure_class_archive(settings, say)):
        say(f"{made.stat().st_size / 2**20:,.0f} MB of classes in {made}")


def stream(
    pipeline: PipelineArgument,
    available_now: Annotated[bool, typer.Option(help="Stop after reading everything that is available.")] = False,
) -> None:
    """Run the ingest and the refine stream of a pipeline; a driver that ends for a temporary cause is started again."""
    arguments = ["--pipeline", pipeline, *(["--available-now"] if available_now else [])]
    backoff, say = Backoff(), plain_console(stderr=True).print
    while True:
        try:
            return submit("stream", arguments)
        except TransientJobError as error:
            pause = backoff.pause(time.monotonic())
            if pause is None:
                raise JobError(f"{error}. It has ended {MAX_ENDS + 1} times within ten minutes") from error
            say(f"{printable(str(error))}. The streams are started again in {pause:g} s; ^C ends them", highlight=False)
            time.sleep(pause)


def stop(
    pipeline: PipelineArgument,
    wait_seconds: Annotated[float, typer.Option(help="Seconds to wait until they have stopped.", min=0)] = 120,
) -> None:
    """Stop the streams of a pipeline after their micro-batch; Airflow starts them again unless the DAG is paused."""
    from tenacity import RetryError, retry, retry_if_result, stop_after_delay, wait_fixed

    from tidemark.core.stream_locks import running_streams, stop_file

    settings, name = get_settings(), get_pipeline(pipeline).name
    asked = stop_file(name, settings)
    if not running_streams(name, settings):
        raise TidemarkError(f"no stream of {name} runs with its state in {settings.state_uri}")
    asked.touch()
    # The driver removes the file as it ends: a next one may hold the locks by then.
    try:
        retry(retry=retry_if_result(bool), stop=stop_after_delay(wait_seconds), wait=wait_fixed(0.2))(asked.exists)()
    except RetryError as error:
        raise JobError(f"the streams of {name} have not stopped within {wait_seconds:g} s: see their log") from error
    plain_console(stderr=True).print(f"the streams of {name} have stopped")


def reprocess(
    pipeline: PipelineArgument,
    from_: Annotated[str | None, typer.Option("--from", help="First event date, such as 2013-01-01.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="The event date after the last one (exclusive).")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All event dates, after a changed definition.")] = False,
    wait_seconds: Annotated[
        float, typer.Option(help="Seconds without progress after which waiting for refine ends.")
    ] = 300,
) -> None:
    """Recompute the event dates [from, to) from bronze, check them against the suite, and publish them."""
    if everything == (from_ is not None or to is not None):
        raise TidemarkError("say which event dates: either --from and --to, or --all")
    chosen = ["--all"] if everything else [*_given("--from", from_), *_given("--to", to)]
    submit("reprocess", ["--pipeline", pipeline, *chosen, "--wait-seconds", str(wait_seconds)])


def compact(
    pipeline: PipelineArgument,
    grace: Annotated[str, typer.Option(help="Speed rows younger than this are not folded.")] = "1 hour",
    retention: Annotated[str, typer.Option(help="VACUUM keeps the files of versions younger than this.")] = "7 days",
    min_files: Annotated[
        int | None, typer.Option(help="Rewrite a table only if that removes this many files (default: 8).", min=1)
    ] = None,
) -> None:
    """Fold the speed tables, OPTIMIZE where the streams no longer write, and VACUUM what nobody reads any more.

    OPTIMIZE merges small files, and clusters large partitions of silver by the definition's cluster_by.
    """
    limits = ["--grace", grace, "--retention", retention]
    limits += [] if min_files is None else ["--min-files", str(min_files)]
    submit("compact", ["--pipeline", pipeline, *limits])


def validate(pipeline: PipelineArgument, from_: FromOption, to: ToOption) -> None:
    """Check silver's event dates [from, to) against the pipeline's suite."""
    submit("validate", ["--pipeline", pipeline, "--from", from_, "--to", to])


def reconcile(pipeline: PipelineArgument, from_: FromOption, to: ToOption) -> None:
    """Recompute the event dates [from, to) from bronze and compare them with speed and serving, pane by pane."""
    submit("reconcile", ["--pipeline", pipeline, "--from", from_, "--to", to])
