"""Merging Spark's sketches in DuckDB: the binary formats are those of Apache DataSketches, in both."""

from collections.abc import Callable

import duckdb
import pyarrow as pa
from datasketches import (
    frequent_items_error_type,
    frequent_strings_sketch,
    hll_sketch,
    hll_union,
    kll_doubles_sketch,
    tgt_hll_type,
)

from tidemark.definition.measures import HLL_LOG2_BUCKETS

_SURE = frequent_items_error_type.NO_FALSE_POSITIVES
"""What Spark's approx_top_k_estimate lists, too."""


def register_sketches(connection: duckdb.DuckDBPyConnection) -> None:
    """Define the functions that the serving SQL of DuckDB calls on sketches."""

    def define(name: str, function: Callable[..., pa.Array], parameters: list[str], returns: str) -> None:
        # Special: a state may be null, and an empty sketch has no quantile.
        connection.create_function(  # type: ignore[call-overload]
            name, function, parameters, returns, type="arrow", null_handling="special"
        )

    define("hll_union", _merging(_union_hll), ["BLOB[]"], "BLOB")
    define("kll_merge", _merging(_merge_kll), ["BLOB[]"], "BLOB")
    define("items_merge", _merging(_merge_items), ["BLOB[]"], "BLOB")
    define("items_top", _top, ["BLOB", "BIGINT"], "STRUCT(item VARCHAR, count BIGINT)[]")
    define("hll_sketch_estimate", _estimate, ["BLOB"], "BIGINT")
    define("kll_quantile", _quantile, ["BLOB", "DOUBLE"], "DOUBLE")


def _merging(merge: Callable[[list[bytes]], bytes]) -> Callable[[pa.Array], pa.Array]:
    def function(lists: pa.Array) -> pa.Array:
        merged = []
        for item in lists.to_pylist():
            states = [state for state in item or () if state is not None]
            merged.append(None if not states else states[0] if len(states) == 1 else merge(states))
        return pa.array(merged, pa.binary())

    return function


def _union_hll(states: list[bytes]) -> bytes:
    union = hll_union(HLL_LOG2_BUCKETS)
    for state in states:
        union.update(hll_sketch.deserialize(state))
    return bytes(union.get_result(tgt_hll_type.HLL_8).serialize_compact())


def _merge_kll(states: list[bytes]) -> bytes:
    merged = kll_doubles_sketch.deserialize(states[0])
    for state in states[1:]:
        merged.merge(kll_doubles_sketch.deserialize(state))
    return bytes(merged.serialize())


def _merge_items(states: list[bytes]) -> bytes:
    merged = frequent_strings_sketch.deserialize(states[0])
    for state in states[1:]:
        merged.merge(frequent_strings_sketch.deserialize(state))
    return bytes(merged.serialize())


def _estimate(states: pa.Array) -> pa.Array:
    return pa.array(
        [
            None if state is None else round(hll_sketch.deserialize(state).get_estimate())
            for state in states.to_pylist()
        ],
        pa.int64(),
    )


def _quantile(states: pa.Array, ranks: pa.Array) -> pa.Array:
    values: list[float | None] = []
    for state, rank in zip(states.to_pylist(), ranks.to_pylist(), strict=True):
        sketch = None if state is None else kll_doubles_sketch.deserialize(state)
        values.append(None if sketch is None or sketch.is_empty() else sketch.get_quantile(rank, True))
    return pa.array(values, pa.float64())


def _top(states: pa.Array, ks: pa.Array) -> pa.Array:
    answers: list[list[dict[str, object]] | None] = []
    for state, k in zip(states.to_pylist(), ks.to_pylist(), strict=True):
        items = [] if state is None else frequent_strings_sketch.deserialize(state).get_frequent_items(_SURE)
        # As Spark orders text: by its bytes.
        ranked = sorted(((item, count) for item, count, *_ in items), key=lambda pair: (-pair[1], pair[0].encode()))
        answers.append([{"item": item, "count": count} for item, count in ranked[:k]])
    return pa.array(answers, pa.list_(pa.struct([("item", pa.string()), ("count", pa.int64())])))
