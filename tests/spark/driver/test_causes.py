"""An error is told by its cause, whatever stands around it and whatever text it quotes."""

import errno
from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tidemark.core.errors import JobError, QualityGateError, TableError
from tidemark_spark.driver.causes import cause_of
from tidemark_spark.driver.streams import run_to_end, start_query

SPARK, HEAP = "org.apache.spark.SparkException", "Java heap space: give the driver more memory"
BUSY = "Python worker failed to connect back.: the machine is too busy to start a Python worker in time"
QUOTED = (
    'such as {"note":"Java heap space"}\n=== Streaming Query ===\nCaused by: java.lang.OutOfMemoryError: Java heap '
    "space\nOSError: [Errno 28] No space left on device\nTraceback (most recent call last):\nQualityGateError: x\ntail"
)
TRACE = """Traceback (most recent call last):
  File "reader.py", line 3, in read
    fetch()
botocore.exceptions.ClientError: it is throttled

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "reader.py", line 5, in read
    raise EndpointError("the stream is gone: make it again") from error
pyspark_kinesis.errors.EndpointError: the stream is gone: make it again
"""
FULL = """Traceback (most recent call last):
  File "reader.py", line 3, in read
    file.write(b"")
OSError: [Errno 28] No space left on device: '/scratch/x'
"""
STAGE = (
    "Job aborted due to stage failure: Task 0 in stage 1.0 failed 1 times, most recent failure: Lost task 0.0 in stage"
)


def java(spark: SparkSession, chain: list[tuple[str, str]]) -> Py4JJavaError:
    """An error of Java's, as Python sees it: of each class and message, caused by the one behind it."""
    jvm: Any = spark._jvm
    made = None
    for name, message in reversed(chain):
        cls = jvm
        for part in name.split("."):
            cls = getattr(cls, part)
        made = cls(message) if made is None else cls(message, made)
    return Py4JJavaError("An error occurred while calling o1.load", made)


@pytest.mark.parametrize(
    ("chain", "cause"),
    [
        (
            [(SPARK, "Job aborted"), (SPARK, "Python worker failed to connect back."), ("java.io.IOException", "x")],
            BUSY,
        ),
        (
            [(SPARK, "Job aborted"), ("java.io.IOException", "No space left on device")],
            "IOException: No space left on device: make room where the tables",
        ),
        ([("java.nio.file.FileSystemException", "/x")], "FileSystemException: /x"),
        (
            [(SPARK, "Job aborted"), ("java.io.FileNotFoundException", "/lake/x (No space left on device)")],
            "FileNotFoundException: /lake/x (No space left on device): make room",
        ),
        (
            [
                (SPARK, "Job aborted"),
                ("org.rocksdb.RocksDBException", "While appending to file: No space left on device"),
            ],
            "RocksDBException: While appending to file: No space left on device: make room",
        ),
        (
            [
                (SPARK, "Job aborted"),
                (SPARK, "Python worker exited unexpectedly (crashed)"),
                ("java.io.EOFException", ""),
            ],
            "Python worker exited unexpectedly (crashed): mostly the system killed it",
        ),
        ([("java.lang.OutOfMemoryError", "Java heap space")], f"OutOfMemoryError: {HEAP}"),
        (
            [
                (
                    SPARK,
                    f"{STAGE} 1.0 (TID 7) (10.0.0.1 executor 2): java.lang.OutOfMemoryError: Java heap space\n\tat x.Y",
                )
            ],
            f"OutOfMemoryError: {HEAP}",
        ),
        (
            [("java.lang.ArithmeticException", "Java heap space")],
            "ArithmeticException: Java heap space",
        ),
        (
            [(SPARK, f"[PYTHON_STREAMING_DATA_SOURCE_RUNTIME_ERROR] Failed: {TRACE}")],
            "the stream is gone: make it again",
        ),
        (
            [(SPARK, "Job aborted"), ("py4j.Py4JException", f"An exception was raised: {FULL}")],
            "[Errno 28] No space left",
        ),
        ([(SPARK, "Job aborted"), ("java.lang.IllegalStateException", "one\ntwo")], "IllegalStateException: one two"),
        ([(SPARK, "nothing more is known")], "nothing more is known"),
    ],
)
def test_a_cause_of_java_is_told_with_its_remedy(spark: SparkSession, chain: list[tuple[str, str]], cause: str) -> None:
    told = str(cause_of(java(spark, chain)))
    assert told.startswith(cause)
    assert ("make room" in told) == ("No space" in told)
    assert ("more memory" in told) == ("OutOfMemoryError" in told)


@pytest.mark.parametrize(
    "name", [SPARK, "java.lang.IllegalStateException", "py4j.Py4JException", "java.io.IOException"]
)
def test_what_a_message_quotes_chooses_no_remedy_and_cuts_nothing(spark: SparkSession, name: str) -> None:
    quoted = QUOTED if name != "py4j.Py4JException" else f"Traceback (most recent call last):\n  File x\nA: {QUOTED}"
    told = cause_of(java(spark, [(SPARK, "Job aborted"), (name, quoted)]))
    assert told.remedy is None
    assert "such as" in told.what
    assert told.what.endswith("tail")


def test_an_error_of_pythons_own_keeps_its_words() -> None:
    assert cause_of(TableError(QUOTED)) == (" ".join(QUOTED.split("\n")), None)
    assert cause_of(ValueError()) == ("ValueError", None)
    full = cause_of(OSError(errno.ENOSPC, "No space left on device", "/lake/x"))
    assert full.what == "[Errno 28] No space left on device: '/lake/x'"
    assert (full.remedy or "").startswith("make room")
    said = TableError("silver cannot be written")
    said.__cause__ = OSError(
        "Generic LocalFileSystem error: Unable to copy data: No space left on device (os error 28)"
    )
    assert str(cause_of(said)).startswith("silver cannot be written: make room")


def test_an_error_of_sparks_that_quotes_an_event_is_told_as_it_is(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("Java heap space",)], "note STRING").select(F.col("note").cast("int"))
    with pytest.raises(Exception, match="CAST_INVALID_INPUT") as raised:
        rows.collect()
    told = cause_of(raised.value)
    assert told.what.startswith("SparkNumberFormatException: [CAST_INVALID_INPUT] The value 'Java heap space' of")
    assert told.remedy is None


@pytest.mark.parametrize(
    ("error", "ends_as"),
    [(TableError(f"no QualityGateError: {QUOTED}"), JobError), (QualityGateError(QUOTED), QualityGateError)],
)
def test_a_query_ends_by_the_class_of_what_its_sink_raised(
    spark: SparkSession, tmp_path: Path, error: Exception, ends_as: type[Exception]
) -> None:
    def write(*_: object) -> None:
        raise error

    source = spark.readStream.format("rate-micro-batch").option("rowsPerBatch", 1).load()
    writer = source.writeStream.queryName("sales.refine").option("checkpointLocation", str(tmp_path))
    query = start_query(writer.trigger(once=True), write)
    with pytest.raises((JobError, QualityGateError)) as raised:
        run_to_end(spark, [query])
    assert type(raised.value) is ends_as
    assert str(raised.value) == f"sales.refine ended: {' '.join(str(error).split(chr(10)))}"
