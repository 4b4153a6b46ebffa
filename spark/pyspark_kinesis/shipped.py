"""Lets Spark's planner process find this package where it came with ``--py-files`` or ``addPyFile``.

Spark plans a Python streaming source in a process of its own on the driver. Up to 4.2 at least, that process is told to
look for the session's files in a folder that is not there: PythonStreamingSourceRunner gives "streaming_job" as the id
of the session's artifacts, and the id is a part of the path. Tasks, batch reads and writes look in the right one. So a
source that is pickled for the planner carries with it where the package lies on the driver.
"""

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any


def shipped_in() -> str | None:
    """The zip or folder that this package was imported from, if Spark brought it; None where Python finds it by itself.

    Known to the processes that Spark starts, not to the driver's own.
    """
    try:
        from pyspark.core.files import SparkFiles
    except ImportError:  # a client of Spark Connect has none
        return None
    where = Path(__file__).parents[1]
    files = getattr(SparkFiles, "_root_directory", None)
    if not getattr(SparkFiles, "_is_running_on_worker", False) or not files:
        return None
    return str(where) if where.is_relative_to(files) else None


def maker(where: str) -> Callable[[MutableMapping[str, str]], Any]:
    """Makes a source of options, in a process that does not know the package yet.

    A function within a function, as pickle takes such a one along by value.
    """

    def make(options: MutableMapping[str, str]) -> Any:
        import sys

        if where not in sys.path:
            sys.path.insert(1, where)
        from pyspark_kinesis import DefaultSource

        return DefaultSource(options)

    return make
