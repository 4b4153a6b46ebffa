"""The folder of Great Expectations' Data Docs, of which each further run takes longer to index."""

import contextlib
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from tidemark.core.settings import Settings

RESULTS, PAGES = "results", "validations"
"""Below the folder: results as Great Expectations stores them, and the pages that it names so itself."""


class DataDocs(NamedTuple):
    """Where the pages are, and how long a run's stay. The table of validations keeps every result."""

    folder: Path
    kept: timedelta

    @classmethod
    def of(cls, settings: Settings) -> "DataDocs":
        """The Data Docs of this installation."""
        return cls(settings.data_docs_dir, timedelta(days=settings.data_docs_days))

    def prune(self, suite: str) -> int:
        """Remove what runs of a suite left longer ago than ``kept``, and return how many runs; call before a run,
        which then writes an index without them."""
        oldest = time.time() - self.kept.total_seconds()
        removed = set()
        for part in (RESULTS, PAGES):
            # SUITE/RUN_NAME/RUN_TIME/BATCH
            for run in (self.folder / part / suite).glob("*/*"):
                with contextlib.suppress(OSError):  # another driver may be at it
                    if run.is_dir() and run.stat().st_mtime < oldest:
                        shutil.rmtree(run)
                        removed.add(run.name)
        return len(removed)
