"""No orphaned driver: it ends when the processes that it runs for have gone, however they went.

A driver is a Python process below a JVM (spark-submit) below whoever started that: a task of Airflow, the CLI, a test.
The operating system ends none of them with another. So the driver watches the chain, by its own parent and by that
one's, up to the processes that its environment names; those that are not above it (a driver in a cluster) do not count.
"""

import logging
import os
import threading
import time
from itertools import pairwise

import psutil

from tidemark.core.errors import TRY_AGAIN
from tidemark.core.spark_start.conf import PARENTS_VARIABLE

POLL_SECONDS = 1.0

log = logging.getLogger("tidemark.driver")


def end_with_parents() -> None:
    """From now on, end this process and its JVM within seconds after a parent that it runs for has gone."""
    chain = watched(os.environ.get(PARENTS_VARIABLE, ""))
    threading.Thread(target=_watch, args=(chain,), name="parents", daemon=True).start()


def watched(named: str) -> list[psutil.Process]:
    """This process, its parent, and further ones above it up to the last of those that are named by their ids."""
    ids = {int(text) for text in named.split(",") if text.strip().isdigit()}
    me = psutil.Process()
    above = me.parents()
    last = max((n for n, process in enumerate(above) if process.pid in ids), default=0)
    return [me, *above[: last + 1]]


def lost(chain: list[psutil.Process]) -> psutil.Process | None:
    """The first process of the chain that has gone: the one below it has another parent then."""
    for child, parent in pairwise(chain):
        try:
            if child.ppid() != parent.pid:
                return parent
        except psutil.NoSuchProcess:
            return child
    return None


def _watch(chain: list[psutil.Process]) -> None:
    while (gone := lost(chain)) is None:
        time.sleep(POLL_SECONDS)
    log.error("process %d, which this driver runs for, has gone: the driver ends", gone.pid)
    if len(chain) > 2 and gone.pid != chain[1].pid:
        chain[1].kill()  # the JVM, which would wait for us and then end in its own time
    os._exit(TRY_AGAIN)
