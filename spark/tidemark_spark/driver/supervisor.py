"""The life of the driver of a pipeline's streams: one at a time, with a heartbeat, ended on request or if it hangs."""

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)
from pyspark.sql.streaming.query import StreamingQuery

from tidemark.core.errors import TRY_AGAIN
from tidemark.core.locks import FileLock, when_free
from tidemark.core.settings import Settings
from tidemark.core.stream_locks import stop_file, stream_lock
from tidemark_spark.driver.job import waiting

log = logging.getLogger("tidemark.stream")

IDLE_SECONDS = 10.0
"""Between two notes while no micro-batch ends."""
NOTE_SECONDS = 2.0
"""Between two notes of a heartbeat in the lock's file."""
FINISH_SECONDS = 60.0
"""How long a planned stop waits for the micro-batch that runs; one that is cut off is replayed, and written once."""


class Supervisor(StreamingQueryListener):
    """Holds the streams' locks for the life of this process, and notes in them when a query last did something.

    If another driver has one of them, it waits for that one to end, and says for whom.
    """

    def __init__(self, pipeline: str, streams: list[str], settings: Settings) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._settings = settings
        self._beat = time.monotonic()
        self._noted: dict[str, float] = {}
        self._facts: dict[str, dict[str, object]] = {}
        self._locks: dict[str, FileLock] = {}
        self._writing = threading.Lock()
        """The listener's thread and the watch's write the same files."""
        self._watches: list[threading.Thread] = []
        when_free(lambda: self._take(streams), waiting)

    def watch(self, queries: list[StreamingQuery]) -> None:
        """From now on until they have ended, stop these queries on request, and end the driver if they stall."""
        watch = threading.Thread(target=self._watch, args=(tuple(queries),), name="supervisor", daemon=True)
        watch.start()
        self._watches.append(watch)

    def close(self) -> None:
        """Wait, after the queries have ended, until a request to stop has been answered.

        Whoever asked waits for its file to be removed, and that follows the end of the last query. Without this wait
        the process could be gone in between.
        """
        for watch in self._watches:
            watch.join()

    def onQueryStarted(self, event: QueryStartedEvent) -> None:
        self._note(event.name or "")

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        progress = event.progress
        self._note(progress.name or "", batch=progress.batchId, rows=progress.numInputRows)

    def onQueryIdle(self, event: QueryIdleEvent) -> None:
        self._beat = time.monotonic()

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:
        """The end of a query is told by whoever waits for it."""

    def _take(self, streams: list[str]) -> None:
        with ExitStack() as taken:
            for stream in streams:
                path = stream_lock(self._pipeline, stream, self._settings)
                if path is None:
                    log.warning(
                        "the state of %s is on an object store, where there is no lock: a second driver would be "
                        "refused only when it commits",
                        self._pipeline,
                    )
                    continue
                self._locks[stream] = FileLock(path, f"the {stream} stream of {self._pipeline}")
                taken.callback(self._locks[stream].close)
            taken.pop_all()
        if self._locks:
            stop_file(self._pipeline, self._settings).unlink(missing_ok=True)  # meant for the one before

    def _note(self, query: str, **facts: object) -> None:
        self._beat = now = time.monotonic()
        stream = query.rsplit(".", 1)[-1]
        if facts:
            self._facts[stream] = facts
        if stream in self._locks and now - self._noted.get(stream, 0.0) >= NOTE_SECONDS:
            self._write(stream, datetime.now(UTC), facts)

    def _watch(self, queries: Sequence[StreamingQuery]) -> None:
        asked: Path | None = stop_file(self._pipeline, self._settings) if self._locks else None
        limit = self._settings.stall_seconds
        while any(query.isActive for query in queries):
            if asked is not None and asked.exists():
                log.info("asked to stop: the streams of %s end after their micro-batch", self._pipeline)
                for query in queries:
                    _finish(query)
                asked.unlink(missing_ok=True)
                return
            if time.monotonic() - self._beat > limit:
                log.error("error: no query of %s has done anything for %g s: the driver ends", self._pipeline, limit)
                os._exit(TRY_AGAIN)
            self._note_life()
            time.sleep(0.5)

    def _note_life(self) -> None:
        """Say when a query last did something, also where that was to find that there is nothing to do."""
        now = time.monotonic()
        for stream in self._locks:
            if now - self._noted.get(stream, 0.0) >= IDLE_SECONDS:
                beat = datetime.now(UTC) - timedelta(seconds=now - self._beat)
                self._write(stream, beat, self._facts.get(stream, {}))

    def _write(self, stream: str, beat: datetime, facts: Mapping[str, object]) -> None:
        with self._writing:
            self._noted[stream] = time.monotonic()
            self._locks[stream].note(heartbeat=beat.isoformat(timespec="seconds"), **facts)


def _finish(query: StreamingQuery) -> None:
    deadline = time.monotonic() + FINISH_SECONDS
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(0.02)
    query.stop()
