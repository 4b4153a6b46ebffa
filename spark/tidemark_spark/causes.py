"""Why something in Spark failed, in one line: what raised it first, not the last line of the trace around it."""

import re
import traceback
from typing import Any

from py4j.protocol import Py4JJavaError

_RAISED = re.compile(r"^(?:[\w.$]+\.)?(\w*(?:Error|Exception)): (.+)$", re.MULTILINE)
_CAUSED = re.compile(r"^Caused by: (?:[\w.$]+\.)?(\w+)(?:: (.+))?$", re.MULTILINE)
_ENDED = re.compile(r"terminated with exception: (.+?)(?: SQLSTATE|$)", re.MULTILINE)
_WRAPPERS = ("Py4J", "Spark", "StreamingQuery", "Execution", "ForeachBatch")
"""How the names of exceptions begin that only pass on another one."""
_STATE = "=== Streaming Query ==="
"""Where a query's message goes on with its identifiers, its plan and `Thread State: …`."""
_REMEDIES = {
    "No space left on device": "make room where the tables, the state and Spark's scratch files are",
    "failed to connect back": "the machine is too busy to start a Python worker in time; it is tried again",
    "Timed out while waiting for the Python worker": (
        "the machine is too busy to start a Python worker in time; it is tried again"
    ),
    "Java heap space": 'give the driver more memory: TIDEMARK_SPARK_CONF=\'{"spark.driver.memory": "4g"}\'',
}


def cause_of(error: BaseException) -> str:
    """Why Spark or Python raised an error, in one line, with a remedy where one is known."""
    text = _java_trace(error.java_exception) if isinstance(error, Py4JJavaError) else str(error)
    return cause_in(text) or type(error).__name__


def cause_in(text: str) -> str:
    """The cause that a message of Spark's tells of.

    Spark passes on the traceback of Python code that failed as text, inside messages of its own.
    """
    told = text.partition(_STATE)[0]
    raised = [(name, message) for name, message in _RAISED.findall(told) if not name.startswith(_WRAPPERS)]
    caused = [(name, message) for name, message in _CAUSED.findall(told) if not name.startswith("Py4J")]
    ended = _ENDED.search(told)
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    if raised:
        cause = raised[-1][1]
    elif caused:
        cause = ": ".join(part for part in caused[-1] if part)
    elif ended:
        cause = ended[1]
    else:
        cause = lines[0] if lines else ""
    remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in told), None)
    sign = next((sign for sign in _REMEDIES if sign in told), None)
    if sign is not None and sign not in cause:
        cause = sign
    return f"{cause.strip()}: {remedy}" if remedy else cause.strip()


def where(error: BaseException) -> str:
    """The Python lines that led to an error, without the traces of Java that its message may hold."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()


def _java_trace(exception: Any) -> str:
    """The messages of a Java exception and of those that caused it, as a trace prints them."""
    lines, seen = [str(exception.toString())], 0
    cause = exception.getCause()
    while cause is not None and seen < 20:
        lines.append(f"Caused by: {cause.toString()}")
        cause, seen = cause.getCause(), seen + 1
    return "\n".join(lines)
