"""What the streams say of themselves while they run: one line of JSON a micro-batch, for people and for programs."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

log = logging.getLogger("tidemark.stream")


class ProgressLog(StreamingQueryListener):
    """Logs ``progress {"query", "batch", "rows", "ms": {step: milliseconds}}`` after each micro-batch.

    The steps are those of Spark's ``durationMs``. Triggers that found nothing are not logged.
    """

    def onQueryStarted(self, event: QueryStartedEvent) -> None:
        log.info("%s started", event.name)

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        progress = event.progress
        # A trigger without a batch reports the number of the last one, and adds nothing.
        if "addBatch" in progress.durationMs:
            say("progress", query=progress.name, batch=progress.batchId, rows=progress.numInputRows,
                ms=dict(progress.durationMs))  # fmt: skip

    def onQueryIdle(self, event: QueryIdleEvent) -> None:
        """Nothing is worth a line while nothing comes."""

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:
        log.info("a query ended%s", " with an error" if event.exception else "")


class Steps:
    """Milliseconds that the steps of one micro-batch took, by name."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        began = time.perf_counter()
        yield
        self.ms[name] = round((time.perf_counter() - began) * 1000, 1)


def say(what: str, **facts: Any) -> None:
    """One line: a word, and facts as JSON."""
    log.info("%s %s", what, json.dumps(facts, default=str))
