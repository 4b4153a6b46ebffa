"""Why something in Spark failed, in one line, with a remedy where one is known.

Both come from the exceptions themselves: their classes, and how the message of a class begins. A message may quote what
events hold, of any text, so nothing is searched for inside of it.
"""

import errno
import re
import traceback
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JJavaError
from pyspark.errors.exceptions.captured import CapturedException, StreamingQueryException

NO_SPACE = "make room where the tables, the state and Spark's scratch files are"
"""What to do where no space is left: the same job may succeed afterwards."""
_TOO_BUSY = "the machine is too busy to start a Python worker in time; it is tried again"
_MORE_MEMORY = 'give the driver more memory: TIDEMARK_SPARK_CONF=\'{"spark.driver.memory": "4g"}\''
_MEMORY_OF_WORKERS = (
    "mostly the system killed it for want of memory: give the machine or container more of it, or run less at a time"
)
_REMEDIES = (
    ("OSError", f"[Errno {errno.ENOSPC}] ", NO_SPACE),
    ("org.apache.spark.SparkException", "Python worker failed to connect back", _TOO_BUSY),
    ("org.apache.spark.SparkException", "Timed out while waiting for the Python worker", _TOO_BUSY),
    ("org.apache.spark.SparkException", "Python worker exited unexpectedly", _MEMORY_OF_WORKERS),
    ("java.lang.OutOfMemoryError", "Java heap space", _MORE_MEMORY),
    ("java.lang.OutOfMemoryError", "GC overhead limit exceeded", _MORE_MEMORY),
)
"""The class of an exception, how its message begins, and what to do."""
_OF_FILES = frozenset(
    {
        "java.io.IOException",
        "java.io.FileNotFoundException",
        "java.nio.file.FileSystemException",
        "org.rocksdb.RocksDBException",
    }
)
"""Classes whose message ends with the system's own words for what is wrong with a file."""
_FULL = ("No space left on device", "No space left on device)")
_WRAPPERS = frozenset(
    {
        "org.apache.spark.SparkException",
        "org.apache.spark.sql.streaming.StreamingQueryException",
        "java.util.concurrent.ExecutionException",
        "py4j.Py4JException",
    }
)
"""Classes of exceptions that mostly pass on another one."""
_OF_PYTHON = frozenset({"py4j.Py4JException", "org.apache.spark.api.python.PythonException"})
"""Classes whose message holds the traceback of Python code that failed."""
_OF_SOURCES = re.compile(r"\[PYTHON_(?:STREAMING_)?DATA_SOURCE\w*\] ")
"""How the message of another class begins that holds one: the error conditions of Spark's Python data sources."""
_TRACEBACK = "Traceback (most recent call last):\n"
_CHAINED = re.compile(
    r"\n\n(?:The above exception was the direct cause of the following exception"
    rf"|During handling of the above exception, another exception occurred):\n\n{re.escape(_TRACEBACK)}"
)
_LOST_TASK = re.compile(
    r"Job aborted due to stage failure: [^:\n]*, most recent failure: Lost task [\d.]+ in stage [\d.]+ \(TID \d+\) "
    r"\([^()\n]*\): (?P<name>[\w.$]+)(?:: (?P<message>.*?))?(?:\nDriver stacktrace:|\n\tat |\Z)",
    re.DOTALL,
)
"""Spark's words around the exception of a task that could not be sent to the driver as an object."""
_CHARACTERS = 2_000
_DEEPEST = 20
"""Exceptions of a chain that are looked at."""


class Cause(NamedTuple):
    """Why something failed, and what to do about it, where that is known."""

    what: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}" if self.remedy else self.what


class _Raised(NamedTuple):
    """One exception of a chain: its class, and its message. A class of Java has its package, one of Python has not."""

    name: str
    message: str
    remedy: str | None = None

    @property
    def told(self) -> str:
        """The message in one line; of a class of Java that says something, with its name."""
        message = " ".join(self.message.split())
        if len(message) > _CHARACTERS:
            message = f"{message[:_CHARACTERS]} …"
        named = "." in self.name and self.name not in _WRAPPERS
        return ": ".join(part for part in (self.name.rpartition(".")[2] if named else "", message) if part)


def cause_of(error: BaseException) -> Cause:
    """Why Spark or Python raised an error: what raised it first, not what passed it on."""
    chain = list(islice(_chain(error), _DEEPEST))
    known = next((one for one in chain if one.remedy), None)
    if not _is_of_java(error):
        # Python's own errors are raised from others to say more than these.
        return Cause(_one_line(str(error)) or type(error).__name__, known and known.remedy)
    said = [one for one in chain if one.name not in _WRAPPERS and one.told]
    first = known or (said or chain or [_Raised(type(error).__name__, "")])[-1]
    return Cause(first.told or first.name, first.remedy)


def where(error: BaseException) -> str:
    """The Python lines that led to an error, without the traces of Java that its message may hold."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()


def _one_line(text: str) -> str:
    return " ".join(text.split("\n"))


def _is_of_java(error: BaseException) -> bool:
    return isinstance(error, Py4JJavaError | CapturedException)


def _chain(error: BaseException | None) -> Iterator[_Raised]:
    """An error and those that caused it, the outermost first."""
    while error is not None:
        if isinstance(error, Py4JJavaError):
            yield from _java_chain(error.java_exception)
            return
        if isinstance(error, CapturedException):
            if error._origin is not None:
                yield from _java_chain(error._origin)
                return
            # PySpark keeps no Java object of the end of a query, nor of a class that it does not know: its text only.
            name, _, message = (error._desc or "").partition(": ")
            if not isinstance(error, StreamingQueryException):
                yield _told_by_java(name, message)
            error = error._cause
            continue
        yield _raised_in_python(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _raised_in_python(error: BaseException) -> _Raised:
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    # delta-rs passes on an error of the system as the end of its message.
    full = full or (isinstance(error, OSError | DeltaError) and str(error).endswith(f"(os error {errno.ENOSPC})"))
    return _Raised(type(error).__name__, str(error), NO_SPACE if full else None)


def _java_chain(exception: Any) -> Iterator[_Raised]:
    while exception is not None:
        name = str(exception.getClass().getName())
        reason = exception.getReason() if name == "java.nio.file.FileSystemException" else None
        yield _told_by_java(name, str(reason or exception.getMessage() or ""))
        exception = exception.getCause()


def _told_by_java(name: str, message: str) -> _Raised:
    """An exception of Java, or in its place that of Python code, or of a task, whose text it passes on."""
    if (name in _OF_PYTHON or _OF_SOURCES.match(message)) and _TRACEBACK in message:
        blocks = _CHAINED.split(message.partition(_TRACEBACK)[2])
        first, last = _raised_in_text(blocks[0]), _raised_in_text(blocks[-1])
        # Before the first one's class there are Python's own lines only. What follows its message may be data.
        return last._replace(remedy=first.remedy)
    if name == "org.apache.spark.SparkException" and (lost := _LOST_TASK.match(message)):
        return _told_by_java(lost["name"], lost["message"] or "")
    return _raised(name, message)


def _raised_in_text(block: str) -> _Raised:
    """What a traceback ends with: the lines of its frames are indented, and then come a class and its message."""
    lines = block.split("\n")
    at = next((n for n, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    name, _, message = "\n".join(lines[at:]).partition(": ")
    return _raised(name.rpartition(".")[2].strip(), message)


def _raised(name: str, message: str) -> _Raised:
    remedy = next((do for cls, begins, do in _REMEDIES if cls == name and message.startswith(begins)), None)
    if remedy is None and name in _OF_FILES and message.endswith(_FULL):
        remedy = NO_SPACE
    return _Raised(name, message, remedy)
