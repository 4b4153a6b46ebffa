"""One event, one key: what the stream remembers is equal exactly where the batch's key is, for every type of column."""

import random
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from layers import kinesis_records, make_tables, read
from pyspark.sql import SparkSession

from tidemark.core.settings import Settings
from tidemark.definition import KinesisStream, Pipeline
from tidemark.lake.generations import begin_generation, deduplication_id
from tidemark.lake.tables import tables_of
from tidemark.quality import load_suite
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.speed.ingest import BronzeSink

_TEXTS = ['"e\\u0301"', '"\\u00e9"', '"E"', '"e"', '"e "', '""', '"\\u0000"', '"\\"]"']
_MONEY = ["1", "1.0", "1.0001", "1e0", "123456789012345678.0001", "123456789012345678.0002", "-0"]
_DOUBLES = ["0", "-0.0", "0.1", "0.30000000000000004", "0.3", "1e17", "1e-300"]
_TIMES = [
    "2026-01-01T00:00:00.000001+00:00",
    "2026-01-01T00:00:00.000500+00:00",
    "2026-01-01T00:00:00.000999+00:00",
    "2026-01-01T00:00:00.001000+00:00",
    "2026-01-01T01:00:00.001000+01:00",
    "0001-01-01T00:00:00+00:00",
]
_FLOATS = {"0.0": 0.0, "-0.0": 0.0, "0.5": 0.5, "16777216": 16777216.0, "16777217": 16777216.0}
_INTEGERS = {"9007199254740993": 2**53 + 1, "9007199254740992": 2**53, '"7"': 7, "7": 7, "-0": 0, "0": 0}
_DAYS = {'"2026-01-01"': date(2026, 1, 1), '"2026-1-1"': date(2026, 1, 1), '"0001-01-01"': date(1, 1, 1)}
KEYS: dict[str, tuple[str, list[tuple[str, Any]]]] = {
    "text": ("STRING", [(text, orjson.loads(text)) for text in _TEXTS]),
    "big": ("BIGINT", list(_INTEGERS.items())),
    "small": ("SMALLINT", [("1", 1), ("2", 2)]),
    "money": ("DECIMAL(28,4)", [(text, Decimal(text)) for text in _MONEY]),
    "double": ("DOUBLE", [(text, float(text)) for text in _DOUBLES]),
    "float": ("FLOAT", list(_FLOATS.items())),
    "yes": ("BOOLEAN", [("true", True), ('"true"', True), ("false", False)]),
    "day": ("DATE", list(_DAYS.items())),
    "raw": ("BINARY", [('"a"', b"a"), ('"A"', b"A"), ('"YQ=="', b"YQ==")]),
    "until": ("TIMESTAMP", [(f'"{text}"', datetime.fromisoformat(text)) for text in _TIMES]),
}
"""Of each type, texts of values and what they are in Python, whose equality is what is right."""


def pipeline(key: list[str]) -> Pipeline:
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in KEYS.items())
    return Pipeline(
        name="keys", source=KinesisStream("keys"), schema=f"{columns}, at TIMESTAMP, number BIGINT", event_time="at",
        key=key, rollups=[], suite="suite.json",
    )  # fmt: skip


def record(number: int, values: dict[str, str]) -> bytes:
    members = {**values, "at": '"2026-01-01T00:00:00Z"', "number": str(number)}
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in members.items()) + "}").encode()


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "suite.json").write_bytes(orjson.dumps({"name": "keys", "expectations": [], "meta": {}}))
    return settings.model_copy(update={"project_dir": tmp_path})


def numbers_kept(
    spark: SparkSession, settings: Settings, refine: Callable[..., None], definition: Pipeline, records: list[bytes]
) -> tuple[list[int], list[int]]:
    """The numbers of the events that the stream kept of some records, and those that a reprocess of all kept."""
    make_tables(definition, settings)
    suite = load_suite(definition, settings)
    begin_generation(definition, suite, settings)
    sink = BronzeSink(definition, settings, lambda: "query")
    half = len(records) // 2
    for batch, part in enumerate((records[:half], records[half:])):
        sink.write(in_order(part, batch * half), batch)
        refine(definition)
    silver = tables_of(definition, settings).silver
    kept = sorted(read(silver, settings)["number"].to_pylist())
    reprocess(spark, definition, suite, settings, date.min, date.max, wait_seconds=5, audit=False)
    return kept, sorted(read(silver, settings)["number"].to_pylist())


def in_order(records: list[bytes], start: int) -> Any:
    """The records on one shard, so that the order of the log is theirs."""
    table = kinesis_records(records, start)
    shards = table["shard_id"].slice(0, 1).to_pylist() * len(records)
    return table.set_column(table.column_names.index("shard_id"), "shard_id", [shards])


def first_of_each(records: list[tuple[Any, ...]]) -> list[int]:
    seen: dict[tuple[Any, ...], int] = {}
    for number, key in enumerate(records):
        seen.setdefault(key, number)
    return sorted(seen.values())


def test_every_type_of_key_by_itself(spark: SparkSession, settings: Settings, refine: Callable[..., None]) -> None:
    # One column varies at a time, and the key is all of them.
    definition = pipeline(list(KEYS))
    plain = {name: known[0] for name, (_, known) in KEYS.items()}
    drawn = [{**plain, name: value} for name, (_, known) in KEYS.items() for value in known]
    records = [record(n, {name: text for name, (text, _) in values.items()}) for n, values in enumerate(drawn)]
    right = first_of_each([tuple(value for _, value in values.values()) for values in drawn])
    assert numbers_kept(spark, settings, refine, definition, records) == (right, right)


def test_keys_of_several_columns_drawn_at_random(
    spark: SparkSession, settings: Settings, refine: Callable[..., None]
) -> None:
    rng = random.Random(7)
    key = ["until", "money", "double", "text"]
    plain = {name: known[0] for name, (_, known) in KEYS.items()}
    drawn = [{**plain, **{name: rng.choice(KEYS[name][1][:3]) for name in key}} for _ in range(200)]
    records = [record(n, {name: text for name, (text, _) in values.items()}) for n, values in enumerate(drawn)]
    right = first_of_each([tuple(values[name][1] for name in key) for values in drawn])
    assert 1 < len(right) < 100
    assert numbers_kept(spark, settings, refine, pipeline(key), records) == (right, right)


def test_another_key_or_type_of_it_has_a_memory_of_its_own() -> None:
    assert deduplication_id(pipeline(["text", "big"])) == deduplication_id(pipeline(["big", "text"]))
    assert deduplication_id(pipeline(["text"])) != deduplication_id(pipeline(["text", "big"]))
