"""Sketches as Spark writes them (Apache DataSketches), merged in DuckDB by the functions of the serving SQL."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator

import duckdb
import pyarrow as pa
import pytest
from datasketches import frequent_strings_sketch, hll_sketch, kll_doubles_sketch

from tidemark.definition.measures import HLL_LOG2_BUCKETS, KLL_K, TOP_K_COUNTERS
from tidemark.serving.view import connect

RELATIVE_ERROR = 3 * 1.04 / 2 ** (HLL_LOG2_BUCKETS / 2)
"""Three standard errors of a HyperLogLog."""
RANK_ERROR = 2 * 0.0133
"""Twice the 99 % bound of a KLL sketch with k = 200."""


def hll(values: range) -> bytes:
    sketch = hll_sketch(HLL_LOG2_BUCKETS)
    for value in values:
        sketch.update(value)
    return bytes(sketch.serialize_compact())


def kll(values: list[float]) -> bytes:
    sketch = kll_doubles_sketch(KLL_K)
    for value in values:
        sketch.update(value)
    return bytes(sketch.serialize())


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect() as connection:
        yield connection


def estimate(connection: duckdb.DuckDBPyConnection, states: list[bytes | None]) -> int | None:
    connection.register("states", pa.table({"s": pa.array(states, pa.binary())}))
    return connection.execute("SELECT hll_sketch_estimate(hll_union(list(s))) FROM states").fetchall()[0][0]


def quantile(connection: duckdb.DuckDBPyConnection, states: list[bytes | None], rank: float) -> float | None:
    connection.register("states", pa.table({"s": pa.array(states, pa.binary())}))
    return connection.execute(f"SELECT kll_quantile(kll_merge(list(s)), {rank}) FROM states").fetchall()[0][0]


def test_a_small_distinct_count_is_exact_and_counts_overlaps_once(connection: duckdb.DuckDBPyConnection) -> None:
    assert estimate(connection, [hll(range(20)), hll(range(10, 30)), hll(range(0))]) == 30


def test_a_large_distinct_count_is_within_its_stated_error(connection: duckdb.DuckDBPyConnection) -> None:
    counted = estimate(connection, [hll(range(n * 5_000, n * 5_000 + 10_000)) for n in range(10)])
    assert counted == pytest.approx(55_000, rel=RELATIVE_ERROR)


def test_a_distinct_count_does_not_depend_on_grouping_or_order(connection: duckdb.DuckDBPyConnection) -> None:
    parts = [hll(range(n * 300, n * 300 + 1_000)) for n in range(8)]
    whole = estimate(connection, [hll(range(7 * 300 + 1_000))])
    assert estimate(connection, parts) == pytest.approx(whole, rel=RELATIVE_ERROR)
    assert estimate(connection, parts[::-1]) == pytest.approx(estimate(connection, parts), rel=0.001)


def test_a_merged_quantile_is_within_its_stated_rank_error(connection: duckdb.DuckDBPyConnection) -> None:
    values = [float(n) for n in range(20_000)]
    random.Random(1).shuffle(values)
    parts = [kll(values[start : start + 500]) for start in range(0, len(values), 500)]
    for rank in (0.0, 0.05, 0.5, 0.95, 1.0):
        assert quantile(connection, parts, rank) == pytest.approx(rank * 20_000, abs=RANK_ERROR * 20_000)


def test_a_quantile_of_few_values_is_exact(connection: duckdb.DuckDBPyConnection) -> None:
    assert quantile(connection, [kll([3.0]), kll([1.0, 2.0])], 0.5) == 2.0


def test_nulls_and_empty_sketches_add_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    assert estimate(connection, [None, hll(range(5)), None]) == 5
    assert quantile(connection, [None, kll([7.0]), kll([])], 0.5) == 7.0
    assert quantile(connection, [kll([])], 0.5) is None
    assert estimate(connection, [None]) is None


def items(values: Iterable[str]) -> bytes:
    sketch = frequent_strings_sketch(10)
    for value in values:
        sketch.update(value)
    return bytes(sketch.serialize())


def top(connection: duckdb.DuckDBPyConnection, states: list[bytes | None], k: int) -> list[tuple[str, int]]:
    connection.register("states", pa.table({"s": pa.array(states, pa.binary())}))
    [[found]] = connection.execute(f"SELECT items_top(items_merge(list(s)), {k}) FROM states").fetchall()
    return [(item["item"], item["count"]) for item in found]


def test_the_most_frequent_items_are_exact_while_they_are_few_and_ordered_by_count_then_bytes(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    parts: list[bytes | None] = [items("aab"), None, items(["\U0001f600", "\uffff"]), items("cbz"), items("")]
    expected = [("a", 2), ("b", 2), ("c", 1), ("z", 1), ("\uffff", 1), ("\U0001f600", 1)]
    assert top(connection, parts, 10) == expected
    assert top(connection, parts[::-1], 3) == expected[:3]
    assert top(connection, [None], 3) == top(connection, [items("")], 3) == []


def test_the_most_frequent_of_many_items_are_within_their_stated_error(connection: duckdb.DuckDBPyConnection) -> None:
    rng = random.Random(5)
    values = [str(int(4_000 * rng.random() ** 4)) for _ in range(40_000)]
    counted = Counter(values)
    assert len(counted) > TOP_K_COUNTERS
    found = top(connection, [items(values[start::50]) for start in range(50)], 10)
    assert len(found) == 10
    assert all(abs(counted[item] - count) <= 0.0035 * len(values) for item, count in found)


def test_what_spark_appends_to_a_sketch_of_items_is_passed_over(connection: duckdb.DuckDBPyConnection) -> None:
    nulls = (3).to_bytes(8, "big")
    assert top(connection, [items("ab") + nulls, items("b") + nulls], 2) == [("b", 2), ("a", 1)]
