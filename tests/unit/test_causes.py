"""An error of Spark's is told by its cause, whatever trace stands around it."""

import pytest

from tidemark_spark.causes import cause_in

BUSY = """[STREAM_FAILED] Query [id = 1, runId = 2] terminated with exception: Python worker failed to connect back. SQLSTATE: XXKST
=== Streaming Query ===
Identifier: flights.ingest [id = 1, runId = 2]
Current State: ACTIVE
Thread State: RUNNABLE"""  # noqa: E501
JOB = """org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed 1 times
\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:2897)
Caused by: java.io.IOException: No space left on device
\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)"""
PYTHON = """[STREAM_FAILED] Query [id = 1, runId = 2] terminated with exception: An error while calling o268.
Traceback (most recent call last):
  File "refine.py", line 3, in write
    raise TableError("silver is gone: restore it")
tidemark.errors.TableError: silver is gone: restore it

\tat py4j.Protocol.getReturnValue(Protocol.java:476)
=== Streaming Query ===
Thread State: RUNNABLE"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (BUSY, "Python worker failed to connect back.: the machine is too busy to start a Python worker in time"),
        (JOB, "IOException: No space left on device: make room where the tables"),
        (PYTHON, "silver is gone: restore it"),
        ("java.lang.OutOfMemoryError: Java heap space", "Java heap space: give the driver more memory"),
        ("something else\nThread State: RUNNABLE", "something else"),
        ("", ""),
    ],
)
def test_the_cause_is_told_with_its_remedy(text: str, cause: str) -> None:
    assert cause_in(text).startswith(cause)
    assert "Thread State" not in cause_in(text)
