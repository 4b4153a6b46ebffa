"""Who runs the streams of a pipeline, as the locks beside their checkpoint locations say, and how they are stopped."""

from pathlib import Path
from typing import Any

from tidemark.core.errors import TidemarkError
from tidemark.core.locks import holder, state_folder
from tidemark.core.settings import Settings

STREAMS = ("ingest", "refine")


def stream_lock(pipeline: str, stream: str, settings: Settings) -> Path | None:
    """The lock of a stream, beside its checkpoint location; None where that is on an object store."""
    folder = state_folder(pipeline, settings)
    return None if folder is None else folder / f"{stream}.lock"


def running_streams(pipeline: str, settings: Settings) -> dict[str, dict[str, Any]]:
    """Of each stream that a driver runs now, what its lock says."""
    found = {}
    for stream in STREAMS:
        path = stream_lock(pipeline, stream, settings)
        if path is None:
            continue
        if (said := holder(path)) is not None:
            found[stream] = said
    return found


def stop_file(pipeline: str, settings: Settings) -> Path:
    """The file whose presence asks the driver of a pipeline's streams to end.

    Raises:
        TidemarkError: the state is on an object store.
    """
    folder = state_folder(pipeline, settings)
    if folder is None:
        raise TidemarkError(
            "a planned stop goes by a file beside the checkpoints, and those are on an object store: end the driver "
            "(in Airflow: mark the task stream as failed). Nothing is lost: a micro-batch is written once or not at all"
        )
    return folder / "stop"
