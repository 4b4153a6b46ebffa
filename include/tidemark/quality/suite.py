"""Reads a Great Expectations suite and derives the stream's row rules from it: the same file serves both layers.

A row-level expectation becomes a Spark SQL predicate that is true for rows that break it. As in Great Expectations, a
null passes every expectation but ``expect_column_values_to_not_be_null``. An expectation about the table as a whole, or
one with ``mostly`` below 1, is no rule for a row; it is left to the batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from tidemark.definition import Pipeline
from tidemark.errors import ExpectationError
from tidemark.settings import Settings

Action = Literal["quarantine", "warn", "fail"]


class _Expectation(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str
    type: str
    kwargs: dict[str, Any]
    meta: dict[str, Any] | None = None


class _SuiteFile(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str
    expectations: list[_Expectation]


@dataclass(frozen=True)
class RowRule:
    """One row-level expectation: ``broken`` is a Spark SQL predicate, true for rows that break it, never null."""

    name: str
    broken: str
    action: Action


@dataclass(frozen=True)
class Suite:
    """A suite: its file's content, the row rules derived from it, and the names of expectations left to the batch."""

    name: str
    content: Mapping[str, Any]
    rules: tuple[RowRule, ...]
    batch_only: tuple[str, ...]


def load_suite(pipeline: Pipeline, settings: Settings) -> Suite:
    """The suite of a pipeline.

    Raises:
        ExpectationError: the file is missing or malformed, or names a column that the pipeline does not have.
    """
    path = settings.project_dir / pipeline.suite
    return parse_suite(path, pipeline)


def parse_suite(path: Path, pipeline: Pipeline) -> Suite:
    """Read one suite file against a pipeline's columns; raises ExpectationError as ``load_suite`` does."""
    try:
        content = orjson.loads(path.read_bytes())
        parsed = _SuiteFile.model_validate(content)
    except FileNotFoundError as error:
        raise ExpectationError(
            f"{path}: no such suite; write one, or mend suite= of pipeline {pipeline.name!r}"
        ) from error
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise ExpectationError(f"{path} is no Great Expectations suite: {error}") from error
    rules, batch_only = [], []
    for expectation in parsed.expectations:
        kwargs = expectation.kwargs
        for column in (kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs):
            if column not in pipeline.events:
                raise ExpectationError(
                    f"{path}: {expectation.type} names the column {column!r}, which {pipeline.name!r} does not have"
                )
        derive = _PREDICATES.get(expectation.type)
        label = f"{expectation.type}({kwargs.get('column') or kwargs.get('column_A', '')})"
        if derive is None or kwargs.get("mostly", 1) != 1:
            batch_only.append(label)
            continue
        action = (expectation.meta or {}).get("action", "quarantine")
        if action not in ("quarantine", "warn", "fail"):
            raise ExpectationError(f"{path}: {label} has action {action!r}; known are quarantine, warn and fail")
        rules.append(RowRule(label, f"coalesce({derive(kwargs)}, false)", action))
    return Suite(parsed.name, content, tuple(rules), tuple(batch_only))


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _column(kwargs: Mapping[str, Any], name: str = "column") -> str:
    return f"`{kwargs[name]}`"


def _outside(value: str, kwargs: Mapping[str, Any]) -> str:
    bounds = []
    if kwargs.get("min_value") is not None:
        bounds.append(f"{value} {'<=' if kwargs.get('strict_min') else '<'} {_literal(kwargs['min_value'])}")
    if kwargs.get("max_value") is not None:
        bounds.append(f"{value} {'>=' if kwargs.get('strict_max') else '>'} {_literal(kwargs['max_value'])}")
    return "(" + (" OR ".join(bounds) or "false") + ")"


def _members(kwargs: Mapping[str, Any]) -> str:
    return ", ".join(_literal(value) for value in kwargs["value_set"])


_PREDICATES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "expect_column_values_to_not_be_null": lambda k: f"{_column(k)} IS NULL",
    "expect_column_values_to_be_null": lambda k: f"{_column(k)} IS NOT NULL",
    "expect_column_values_to_be_between": lambda k: _outside(_column(k), k),
    "expect_column_value_lengths_to_be_between": lambda k: _outside(f"length({_column(k)})", k),
    "expect_column_values_to_be_in_set": lambda k: f"{_column(k)} NOT IN ({_members(k)})",
    "expect_column_values_to_not_be_in_set": lambda k: f"{_column(k)} IN ({_members(k)})",
    "expect_column_values_to_match_regex": lambda k: f"NOT {_column(k)} RLIKE {_literal(k['regex'])}",
    "expect_column_pair_values_a_to_be_greater_than_b": lambda k: (
        f"NOT {_column(k, 'column_A')} {'>=' if k.get('or_equal') else '>'} {_column(k, 'column_B')}"
    ),
}
