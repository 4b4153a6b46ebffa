"""Row-level expectations of Great Expectations as Spark SQL predicates that are true for the rows that break them.

Each predicate judges a row exactly as Great Expectations 1.24 does on Spark, also where its ways are surprising: bounds
of numbers are compared as doubles, a value set with a null lets every value pass, and a null passes every expectation
about one column but those on nulls themselves. ``tests/spark/transforms/test_agreement.py`` holds the
two against one another. Whatever depends on other rows, on the run, or on Python code is left to the batch.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from difflib import get_close_matches
from itertools import combinations
from typing import Any

from tidemark.definition.schema import ColumnType, EventSchema

Kwargs = Mapping[str, Any]

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})?)?", re.ASCII)
_LARGEST_SUMMABLE_DIGITS = 36
_DOUBLE = ColumnType("DOUBLE")


class LeftToBatchError(Exception):
    """The stream cannot judge a row by this expectation; the message says why."""


class WrongArgumentError(Exception):
    """The expectation cannot be evaluated by anybody; the message says what is wrong with it."""


def broken_rows(kind: str, kwargs: Kwargs, schema: EventSchema) -> str:
    """The predicate of an expectation whose columns are all in ``schema``; never null.

    Raises:
        LeftToBatchError: it is not a rule for a row.
        WrongArgumentError: an argument is missing, or contradicts another one.
    """
    if kind not in KNOWN:
        raise WrongArgumentError(f"is not an expectation of Great Expectations{_meant(kind)}")
    if kind in _UNSUPPORTED:
        raise WrongArgumentError("is not evaluated by Great Expectations on Spark: write it as a regular expression")
    derive = _PREDICATES.get(kind)
    if derive is None:
        raise LeftToBatchError(_WHY.get(kind, "it is about the table as a whole"))
    if kwargs.get("mostly", 1) != 1:
        raise LeftToBatchError("mostly lets some rows break it, and how many depends on all of them")
    for name, value in kwargs.items():
        if isinstance(value, Mapping) and "$PARAMETER" in value:
            raise LeftToBatchError(f"{name} is a parameter, which each run of the batch sets")
    try:
        predicate = derive(kwargs, schema)
    except KeyError as error:
        raise WrongArgumentError(f"lacks the argument {error}") from error
    if condition := kwargs.get("row_condition"):
        if kind == "expect_column_pair_values_to_be_in_set":
            raise WrongArgumentError("has a row_condition, which Great Expectations does not heed here: leave it out")
        predicate = f"({_condition(condition, kwargs)}) AND ({predicate})"
    return f"coalesce({predicate}, false)"


def _meant(kind: str) -> str:
    return "".join(f": did you mean {name}?" for name in get_close_matches(kind, sorted(KNOWN), 1))


def literal(value: object) -> str:
    """A value as a Spark SQL literal of the type that ``pyspark.sql.functions.lit`` gives it."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case float():
            return f"{value!r}D"
        case int():
            return str(value)
        case datetime():
            return f"TIMESTAMP'{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
        case date():
            return f"DATE'{value}'"
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    # Spark replaces variables in the text of a statement, also inside of literals.
    return "'" + escaped.replace("${", "\\u0024{") + "'"


def _quoted(name: str) -> str:
    return f"`{name}`"


def _between(kwargs: Kwargs, schema: EventSchema) -> str:
    column = kwargs["column"]
    low, high = (_bound(kwargs.get(name), schema[column]) for name in ("min_value", "max_value"))
    if low is not None and high is not None and type(low) is not type(high):
        raise LeftToBatchError("min_value and max_value are of two types")
    if low is not None and high is not None and low > high:  # type: ignore[operator]  # of one type, see above
        raise WrongArgumentError(f"has a min_value ({low}) greater than its max_value ({high})")
    return _outside(_quoted(column), low, high, kwargs)


def _outside(value: str, low: object, high: object, kwargs: Kwargs) -> str:
    bounds = []
    if low is not None:
        bounds.append(f"{value} {'<=' if kwargs.get('strict_min') else '<'} {literal(low)}")
    if high is not None:
        bounds.append(f"{value} {'>=' if kwargs.get('strict_max') else '>'} {literal(high)}")
    if not bounds:
        raise WrongArgumentError("has neither a min_value nor a max_value")
    return " OR ".join(bounds)


def _bound(value: object, kind: ColumnType) -> float | date | None:
    """A bound as Great Expectations reads it from JSON: a number as a double, else a date or a timestamp."""
    if value is None:
        return None
    if kind.is_numeric:
        try:
            return float(value)  # type: ignore[arg-type]  # whatever JSON holds
        except (TypeError, ValueError) as error:
            raise LeftToBatchError(f"{value!r} is not a number, as {kind.sql} wants") from error
    if kind.sql not in ("DATE", "TIMESTAMP"):
        raise LeftToBatchError(f"Great Expectations compares no {kind.sql} with bounds on Spark")
    moment = _moment(value, kind)
    if isinstance(moment, datetime) and moment.tzinfo is None:
        raise LeftToBatchError(
            f"{value!r} says nothing of its time zone: write one, such as {moment.isoformat()}+00:00"
        )
    return moment


def _moment(value: object, kind: ColumnType) -> date:
    if isinstance(value, str) and (found := _ISO.fullmatch(value)):
        try:
            return datetime.fromisoformat(value) if found[1] else date.fromisoformat(value)
        except ValueError:
            pass
    raise LeftToBatchError(f"{value!r} is not a date or time in ISO 8601, as {kind.sql} wants")


def _member(value: object, kind: ColumnType) -> str:
    """A member of a value set, which Great Expectations hands to Spark as JSON holds it."""
    if value is None:
        return "NULL"
    if kind.sql in ("DATE", "TIMESTAMP"):
        moment = _moment(value, kind)
        fits = kind.sql == "TIMESTAMP" or not isinstance(moment, datetime)
    elif kind.is_numeric:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = isinstance(value, bool) if kind.sql == "BOOLEAN" else kind.sql == "STRING" and isinstance(value, str)
    if not fits:
        raise LeftToBatchError(f"{value!r} is no {kind.sql}")
    return literal(value)


def _values(kwargs: Kwargs, schema: EventSchema) -> list[str]:
    return [_member(value, schema[kwargs["column"]]) for value in kwargs["value_set"]]


def _in_set(kwargs: Kwargs, schema: EventSchema) -> str:
    column, members = _quoted(kwargs["column"]), _values(kwargs, schema)
    return f"{column} NOT IN ({', '.join(members)})" if members else f"{column} IS NOT NULL"


def _not_in_set(kwargs: Kwargs, schema: EventSchema) -> str:
    members = _values(kwargs, schema)
    return f"{_quoted(kwargs['column'])} IN ({', '.join(members)})" if members else "false"


def _length(kwargs: Kwargs, schema: EventSchema) -> str:
    return f"length({_text(kwargs, schema)})"


def _text(kwargs: Kwargs, schema: EventSchema) -> str:
    if (kind := schema[kwargs["column"]].sql) != "STRING":
        raise LeftToBatchError(f"its column is {kind}, and only of STRING is the text the same everywhere")
    return _quoted(kwargs["column"])


def _lengths_between(kwargs: Kwargs, schema: EventSchema) -> str:
    bounds = [kwargs.get(name) for name in ("min_value", "max_value")]
    for bound in bounds:
        if bound is not None and (not isinstance(bound, int | float) or bound != int(bound)):
            raise WrongArgumentError(f"has the bound {bound!r}: a length is a whole number")
    low, high = (None if bound is None else int(bound) for bound in bounds)
    return _outside(_length(kwargs, schema), low, high, kwargs)


def _matches(kwargs: Kwargs, schema: EventSchema, regexes: Sequence[str]) -> list[str]:
    if not regexes:
        raise WrongArgumentError("lists no regular expression")
    return [f"{_text(kwargs, schema)} RLIKE {literal(regex)}" for regex in regexes]


def _match_list(kwargs: Kwargs, schema: EventSchema) -> str:
    if (match_on := kwargs.get("match_on") or "any") not in ("any", "all"):
        raise WrongArgumentError(f"has match_on {match_on!r}; known are any and all")
    # One expression of all, as Great Expectations makes it: a flag like (?i) in the first holds for the others too.
    regexes = ["|".join(kwargs["regex_list"])] if match_on == "any" and kwargs["regex_list"] else kwargs["regex_list"]
    return f"NOT ({' AND '.join(_matches(kwargs, schema, regexes))})"


def _pair(kwargs: Kwargs, schema: EventSchema) -> tuple[str, str]:
    names = [kwargs["column_A"], kwargs["column_B"]]
    _comparable(names, schema)
    return _quoted(names[0]), _quoted(names[1])


def _comparable(names: Sequence[str], schema: EventSchema) -> None:
    kinds = {"a number" if schema[name].is_numeric else schema[name].sql for name in names}
    if len(kinds - {"DATE", "TIMESTAMP"}) + bool(kinds & {"DATE", "TIMESTAMP"}) > 1:
        raise LeftToBatchError(f"its columns are of types that are not compared: {', '.join(sorted(kinds))}")


def _greater(kwargs: Kwargs, schema: EventSchema) -> str:
    a, b = _pair(kwargs, schema)
    return f"NOT ({a} >= {b} OR {a} <=> {b})" if kwargs.get("or_equal") else f"NOT ({a} > {b})"


def _pair_in_set(kwargs: Kwargs, schema: EventSchema) -> str:
    a, b = kwargs["column_A"], kwargs["column_B"]
    allowed = [
        f"(`{a}` <=> {_member(x, schema[a])} AND `{b}` <=> {_member(y, schema[b])})"
        for x, y in kwargs["value_pairs_set"]
    ]
    if not allowed or any(value is None for pair in kwargs["value_pairs_set"] for value in pair):
        raise WrongArgumentError("lists no pair of values, or one with a null, which Great Expectations cannot report")
    return _unless_missing([a, b], kwargs, f"NOT ({' OR '.join(allowed)})")


def _unless_missing(names: Sequence[str], kwargs: Kwargs, predicate: str) -> str:
    """The predicate, for rows that ``ignore_row_if`` does not leave out."""
    several = "column_list" in kwargs
    every, one, never = (
        ("all_values_are_missing", "any_value_is_missing", "never")
        if several
        else ("both_values_are_missing", "either_value_is_missing", "neither")
    )
    ignored = kwargs.get("ignore_row_if") or every
    if ignored not in (every, one, never):
        raise WrongArgumentError(f"has ignore_row_if {ignored!r}; known are {every}, {one} and {never}")
    if ignored == never:
        return predicate
    nulls = [f"`{name}` IS NULL" for name in names]
    return f"NOT ({(' AND ' if ignored == every else ' OR ').join(nulls)}) AND ({predicate})"


def _several(kwargs: Kwargs, schema: EventSchema, predicate: Callable[[list[str]], str]) -> str:
    names = list(kwargs["column_list"])
    if len(names) < 2:
        raise WrongArgumentError("names fewer than two columns")
    _comparable(names, schema)
    return _unless_missing(names, kwargs, predicate([_quoted(name) for name in names]))


def _all_equal(columns: list[str]) -> str:
    return f"NOT ({' AND '.join(f'{columns[0]} <=> {other}' for other in columns[1:])})"


def _any_equal(columns: list[str]) -> str:
    return " OR ".join(f"{a} <=> {b}" for a, b in combinations(columns, 2))


def _sum(kwargs: Kwargs, schema: EventSchema) -> str:
    kinds = {name: schema[name] for name in kwargs["column_list"]}
    for name, kind in kinds.items():
        if not kind.is_numeric:
            raise LeftToBatchError(f"{name} is {kind.sql}, which has no sum")
        if kind.digits[0] > _LARGEST_SUMMABLE_DIGITS:
            raise LeftToBatchError(f"a sum of {kind.sql} may overflow, which would end the stream")
    terms = [f"coalesce(`{name}`, 0)" for name in kinds]
    terms = [
        f"CAST({term} AS DECIMAL(38,0))" if kind.digits[0] and not kind.is_decimal else term
        for term, kind in zip(terms, kinds.values(), strict=True)
    ]
    total = _bound(kwargs["sum_total"], _DOUBLE)
    return _unless_missing(list(kinds), kwargs, f"NOT ({' + '.join(terms)} = {literal(total)})")


def _condition(condition: object, kwargs: Kwargs) -> str:
    """``row_condition`` as the text that Great Expectations hands to Spark."""
    if isinstance(condition, str):
        if kwargs.get("condition_parser") not in (None, "spark"):
            raise LeftToBatchError(
                "its row_condition is text of Great Expectations' old syntax: save it as a condition"
            )
        return condition
    match condition:
        case {"type": "pass_through", "pass_through_filter": str(text)}:
            return text
        case {"type": "nullity", "column": {"name": str(name)}, "is_null": is_null}:
            return f"{_quoted(name)} IS {'' if is_null else 'NOT '}NULL"
        case {
            "type": "comparison",
            "column": {"name": str(name)},
            "operator": "IN" | "NOT_IN" as operator,
            "parameter": list(values),
        }:
            return f"{_quoted(name)} {operator.replace('_', ' ')} ({', '.join(map(repr, values))})"
        case {"type": "comparison", "column": {"name": str(name)}, "operator": operator, "parameter": value}:
            return f"{_quoted(name)} {operator} {value!r}"
        case {"type": "and" | "or" as joint, "conditions": list(parts)}:
            return "(" + f" {joint.upper()} ".join(_condition(part, {}) for part in parts) + ")"
    raise LeftToBatchError(f"its row_condition is of no known form: {condition!r}")


_PREDICATES: dict[str, Callable[[Kwargs, EventSchema], str]] = {
    "expect_column_values_to_not_be_null": lambda k, _: f"{_quoted(k['column'])} IS NULL",
    "expect_column_values_to_be_null": lambda k, _: f"{_quoted(k['column'])} IS NOT NULL",
    "expect_column_values_to_be_between": _between,
    "expect_column_value_lengths_to_be_between": _lengths_between,
    "expect_column_value_lengths_to_equal": lambda k, s: (
        f"NOT {_length(k, s)} = {literal(_bound(k['value'], _DOUBLE))}"
    ),
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_values_to_match_regex": lambda k, s: f"NOT {_matches(k, s, [k['regex']])[0]}",
    "expect_column_values_to_not_match_regex": lambda k, s: _matches(k, s, [k["regex"]])[0],
    "expect_column_values_to_match_regex_list": _match_list,
    "expect_column_values_to_not_match_regex_list": lambda k, s: " OR ".join(_matches(k, s, k["regex_list"])),
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_equal": lambda k, s: _unless_missing(
        [k["column_A"], k["column_B"]], k, "NOT ({} <=> {})".format(*_pair(k, s))
    ),
    "expect_column_pair_values_to_be_in_set": _pair_in_set,
    "expect_multicolumn_sum_to_equal": _sum,
    "expect_multicolumn_values_to_be_equal": lambda k, s: _several(k, s, _all_equal),
    "expect_select_column_values_to_be_unique_within_record": lambda k, s: _several(k, s, _any_equal),
}

DERIVABLE = tuple(_PREDICATES)
"""Types of expectations that the stream can enforce."""

_UNSUPPORTED = frozenset(
    f"expect_column_values_to_{form}_like_pattern{several}"
    for form in ("match", "not_match")
    for several in ("", "_list")
)
_AMONG_ROWS = "it compares rows with one another"
_BY_PYTHON = "Great Expectations evaluates it by Python code, which the stream does not run"
_WHY = {
    "expect_column_values_to_be_unique": _AMONG_ROWS,
    "expect_compound_columns_to_be_unique": _AMONG_ROWS,
    "expect_column_values_to_be_increasing": _AMONG_ROWS,
    "expect_column_values_to_be_decreasing": _AMONG_ROWS,
    "expect_column_value_z_scores_to_be_less_than": _AMONG_ROWS,
    "expect_column_values_to_be_json_parseable": _BY_PYTHON,
    "expect_column_values_to_be_dateutil_parseable": _BY_PYTHON,
    "expect_column_values_to_match_json_schema": _BY_PYTHON,
    "expect_column_values_to_match_strftime_format": _BY_PYTHON,
    "unexpected_rows_expectation": "it is a query over the table",
}

_AS_A_WHOLE = frozenset(
    {
        "expect_column_distinct_values_to_be_in_set",
        "expect_column_distinct_values_to_contain_set",
        "expect_column_distinct_values_to_equal_set",
        "expect_column_kl_divergence_to_be_less_than",
        "expect_column_max_to_be_between",
        "expect_column_mean_to_be_between",
        "expect_column_median_to_be_between",
        "expect_column_min_to_be_between",
        "expect_column_most_common_value_to_be_in_set",
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_quantile_values_to_be_between",
        "expect_column_stdev_to_be_between",
        "expect_column_sum_to_be_between",
        "expect_column_to_exist",
        "expect_column_type_to_be",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_values_to_be_in_type_list",
        "expect_column_values_to_be_of_type",
        "expect_column_values_to_not_be_outliers",
        "expect_query_results_to_match_comparison",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_table_columns_to_match_ordered_list",
        "expect_table_columns_to_match_set",
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
        "expect_table_row_count_to_equal_other_table",
    }
)

KNOWN = frozenset({*_PREDICATES, *_UNSUPPORTED, *_WHY, *_AS_A_WHOLE})
"""The existing types of expectations; one that is misspelt Great Expectations would leave out, and check nothing.

A list of our own, as a suite is read where Great Expectations is not, and not at the cost of importing it.
"""
