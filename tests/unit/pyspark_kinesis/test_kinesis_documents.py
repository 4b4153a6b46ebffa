"""The options in the documents are those of the code, with their defaults; what is to be pasted from them works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql.types import BinaryType, StructType

from pyspark_kinesis.options.aliases import FOREIGN, NEEDLESS, is_secret
from pyspark_kinesis.options.batch import KNOWN_TO_BATCH
from pyspark_kinesis.options.put import KNOWN_TO_WRITER, parse_put
from pyspark_kinesis.options.stream import KNOWN, parse

PROJECT = Path(__file__).parents[3]
README = (PROJECT / "packages" / "pyspark-kinesis" / "README.md").read_text()
MOVING = (PROJECT / "docs" / "kinesis" / "moving.md").read_text()
NAME = re.compile(r"\b[a-z]+(?:[A-Z][A-Za-z]*)+\b|\b(?:region|tasks)\b")
READ = {"streamName": "s", "ledgerLocation": "/l", "region": "us-east-1"}
WRITE = {"streamName": "s", "region": "us-east-1"}
ROWS = StructType().add("data", BinaryType())


def section(document: str, heading: str) -> str:
    return re.split(r"^#+ ", document.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose head begins with a word, without the head."""
    [lines] = re.findall(rf"^\| {first} \|.*\n(?:\|.*\n)+", text, flags=re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()[2:]]


def names(text: str) -> set[str]:
    return set(NAME.findall(text))


def defaults(rows: list[list[str]]) -> list[tuple[str, str]]:
    """Options with the default that the table gives, where that is a value."""
    pairs = []
    for option, default, *_ in rows:
        found = [part.strip() for part in option.split(",")]
        values = [part.strip() for part in default.split(",")]
        pairs += zip(found, values, strict=False)
    return [(name, value) for name, value in pairs if re.fullmatch(r"TRIM_HORIZON|[0-9.]+|true|false", value)]


READING = table(section(README, "## Options"), "option")
WRITING = table(section(README, "## Writing"), "option")


def test_the_table_of_options_names_those_of_the_code_and_no_others() -> None:
    rows = {name for row in READING for name in re.split(r", *", row[0])}
    assert rows <= set(KNOWN)
    assert set(KNOWN) <= rows | names(" ".join(cell for row in READING for cell in row))


def test_the_options_of_a_batch_read_are_told() -> None:
    told = names(section(README, "## Batch reads"))
    assert set(KNOWN_TO_BATCH) - set(KNOWN) <= told


def test_the_options_of_writes_are_told() -> None:
    told = names(section(README, "## Writing")) | names(section(README, "## Options"))
    assert set(KNOWN_TO_WRITER) <= told


@pytest.mark.parametrize(("name", "value"), defaults(READING))
def test_a_default_of_the_table_is_that_of_the_code(name: str, value: str) -> None:
    assert parse({**READ, name: value}) == parse(READ)


def test_the_table_has_defaults_to_compare() -> None:
    read = {"failOnDataLoss", "maxBytesPerTrigger", "maxFetchSeconds", "maxGetRecordsPerSecond", "startingPosition"}
    assert read <= dict(defaults(READING)).keys()
    assert {"maxRecordsPerPut", "maxBytesPerPut", "maxRecordBytes", "patienceSeconds"} <= dict(defaults(WRITING)).keys()


@pytest.mark.parametrize(("name", "value"), defaults(WRITING))
def test_a_default_of_the_table_of_writes_is_that_of_the_code(name: str, value: str) -> None:
    assert parse_put({**WRITE, name: value}, ROWS) == parse_put(WRITE, ROWS)


def foreign_names(cell: str) -> set[str]:
    without_notes = re.sub(r"\([^)]*\)", "", cell)
    return {part for part in re.split(r"[,\s]+", without_notes) if part}


MOVES = table(section(MOVING, "## Option by option"), "awslabs")


def test_each_option_of_another_connector_that_is_answered_is_in_the_table() -> None:
    told = {name for row in MOVES for cell in row[:3] for name in foreign_names(cell)}
    # Of a fourth connector, which the page is not about.
    assert {*FOREIGN, *NEEDLESS} - told == {"kinesisEndpointUrl"}


@pytest.mark.parametrize("row", MOVES, ids=lambda row: row[3][:40])
def test_a_row_says_what_the_error_says(row: list[str]) -> None:
    here = row[3]
    for name in {name for cell in row[:3] for name in foreign_names(cell)}:
        if name in FOREIGN:
            assert FOREIGN[name] in here
        elif name in NEEDLESS:
            assert "not needed" in here
        elif is_secret(name):
            assert "never options" in here
        else:
            assert name in KNOWN, f"{name} is refused as unknown, without a word on what to write"
            assert name in here


def test_the_positions_of_awslabs_metadata_are_positions_to_start_from(tmp_path: Path) -> None:
    [script] = re.findall(r"^```python\n(# positions_of_awslabs\.py\n.*?)^```", MOVING, re.MULTILINE | re.DOTALL)

    def shard(kind: str, position: str = "", last: object = True) -> dict[str, object]:
        return {"iteratorType": kind, "iteratorPosition": position, "subSequenceNumber": -1, "isLast": last}

    checkpoint, metadata = tmp_path / "checkpoint", tmp_path / "checkpoint" / "sources" / "0"
    for name in ("commits", "offsets"):
        (checkpoint / name).mkdir(parents=True)
    # As KinesisV2SourceOffset writes it: all values are strings. Spark's number of the batch is not the connector's.
    began = {
        "metadata": {"streamName": "clicks", "batchId": "7"},
        **{f"shardId-00{n}": {k: str(v) for k, v in shard("TRIM_HORIZON").items()} for n in range(4)},
    }
    for batch in ("8", "9", "10"):
        (checkpoint / "offsets" / batch).write_text(f"v1\n{{}}\n{json.dumps(began if batch == '9' else {})}\n")
    for batch in ("8", "9"):
        (checkpoint / "commits" / batch).write_text("v1\n{}")
    ended = {
        "shardId-000": shard("AFTER_SEQUENCE_NUMBER", "4960"),
        "shardId-001": shard("SHARD_END"),
        "shardId-002": shard("AT_TIMESTAMP", "1700000000123"),
    }
    (metadata / "shard-source" / "7").mkdir(parents=True)
    for name, at in ended.items():
        (metadata / "shard-source" / "7" / name).write_text(json.dumps({"shardId": name, **at}))
    command = [sys.executable, "-c", script, str(checkpoint), str(metadata)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = parse({**READ, "startingPosition": done.stdout}).named
    assert found == {
        "s/shardId-000": "4960",
        "s/shardId-001": "SHARD_END",
        "s/shardId-002": "@1700000000.123",
        "s/shardId-003": "TRIM_HORIZON",
    }
    (metadata / "shard-source" / "7" / "shardId-003").write_text(json.dumps(shard("AFTER_SEQUENCE_NUMBER", "5", False)))
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "aggregated" in refused.stderr
