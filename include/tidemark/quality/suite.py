"""Reads a Great Expectations suite and derives the stream's row rules from it: the same file serves both layers.

A row-level expectation becomes a Spark SQL predicate that is true for rows that break it (``tidemark.quality.rules``),
and ``meta.action`` says what becomes of such a row: ``quarantine`` (the default), ``warn`` or ``fail``. What is not a
rule for a row is left to the batch, and the suite says why.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import Path as ZipPath

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from tidemark.core.errors import ExpectationError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.quality.parameters import PARAMETERS, needed_parameters
from tidemark.quality.rules import LeftToBatchError, WrongArgumentError, broken_rows

Action = Literal["quarantine", "warn", "fail"]
"""What becomes of a row that breaks a row rule, of the whole micro-batch for ``fail``."""
ACTIONS: tuple[Action, ...] = get_args(Action)
EXPECTATION = "expectation:"
"""What a reason of quarantine begins with that names an expectation."""
COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list")
"""Arguments of expectations that name columns."""


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
    columns: tuple[str, ...] = ()
    limits: str = ""
    """What the expectation asks of its columns, for people: its arguments without the columns."""


@dataclass(frozen=True)
class BatchOnly:
    """An expectation that only the batch checks, and why the stream cannot."""

    name: str
    reason: str
    limits: str = ""


@dataclass(frozen=True)
class Suite:
    """A suite: its file's content, the row rules derived from it, and the expectations left to the batch."""

    name: str
    content: Mapping[str, Any]
    rules: tuple[RowRule, ...]
    batch_only: tuple[BatchOnly, ...]
    names: tuple[str, ...] = ()
    """The names of all expectations, in the file's order."""

    def named(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Each expectation of the file with its name."""
        return list(zip(self.names, self.content["expectations"], strict=True))

    def with_action(self, *actions: Action) -> tuple[RowRule, ...]:
        """The row rules with one of some actions."""
        return tuple(rule for rule in self.rules if rule.action in actions)

    def summary(self) -> list[str]:
        """In lines, what the stream enforces of the suite, and what it leaves to the batch and why."""
        counts = ", ".join(f"{len(self.with_action(action))} {action}" for action in ACTIONS)
        lines = [f"suite {self.name}: the stream enforces {len(self.rules)} expectations ({counts})"]
        return lines + [f"suite {self.name}: left to the batch: {one.name}: {one.reason}" for one in self.batch_only]


def load_suite(pipeline: Pipeline, settings: Settings) -> Suite:
    """The suite of a pipeline.

    Raises:
        ExpectationError: the file is missing or malformed, or names a column that the pipeline does not have.
    """
    return parse_suite(settings.project_file(pipeline.suite), pipeline)


def parse_suite(path: Path | ZipPath, pipeline: Pipeline) -> Suite:
    """Read one suite file against a pipeline's columns; raises ExpectationError as ``load_suite`` does."""
    try:
        content = orjson.loads(path.read_bytes())
        parsed = _SuiteFile.model_validate(content)
    except FileNotFoundError as error:
        raise ExpectationError(
            f"{path}: no such suite; write one, or fix suite= of pipeline {pipeline.name!r}"
        ) from error
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise ExpectationError(f"{path} is not a Great Expectations suite: {error}") from error
    rules, batch_only, names, seen = [], [], [], Counter[str]()
    for expectation in parsed.expectations:
        columns = _columns(expectation.kwargs)
        for column in columns:
            if column not in pipeline.event_schema:
                raise ExpectationError(
                    f"{path}: {expectation.type} names the column {column!r}, which {pipeline.name!r} does not have"
                )
        name = expectation.type + (f"({', '.join(columns)})" if columns else "")
        seen[name] += 1
        name += f"#{seen[name]}" if seen[name] > 1 else ""
        names.append(name)
        if unknown := needed_parameters({"kwargs": expectation.kwargs}) - set(PARAMETERS):
            raise ExpectationError(
                f"{path}: {name} names the parameters {sorted(unknown)}; known are {', '.join(PARAMETERS)}"
            )
        action = (expectation.meta or {}).get("action")
        if action not in (None, *ACTIONS):
            raise ExpectationError(f"{path}: {name} has action {action!r}; known are quarantine, warn and fail")
        limits = asked(expectation.kwargs)
        try:
            broken = broken_rows(expectation.type, expectation.kwargs, pipeline.event_schema)
        except LeftToBatchError as error:
            reason = f"{error}; its action {action} has no effect" if action else str(error)
            batch_only.append(BatchOnly(name, reason, limits))
        except WrongArgumentError as error:
            raise ExpectationError(f"{path}: {name} {error}") from error
        else:
            rules.append(RowRule(name, broken, action or "quarantine", columns, limits))
    return Suite(parsed.name, content, tuple(rules), tuple(batch_only), tuple(names))


def _columns(kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    listed = kwargs.get("column_list", ())
    return (*(kwargs[name] for name in COLUMN_ARGUMENTS[:-1] if name in kwargs), *listed)


def asked(kwargs: Mapping[str, Any]) -> str:
    """What an expectation asks of its columns, for people: its arguments without the columns."""
    return ", ".join(f"{name}={value}" for name, value in kwargs.items() if name not in (*COLUMN_ARGUMENTS, "batch_id"))
