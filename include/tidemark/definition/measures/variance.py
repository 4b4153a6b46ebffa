"""Variance and standard deviation from exact sums, so that neither grouping nor order shows in the last bit.

Values are integers in units of their last digit, split into two limbs of 14 digits, ``v = hi * 10**14 + lo``, because a
square of 28 digits does not fit into DECIMAL(38). The sums of hi, lo and their products are exact. The squares of the
distances to a rounded mean c follow from them, in whole numbers too, and only then are doubles used:

    D1 = sum(v - c)    D2 = sum((v - c)**2)    variance = (D2 - D1**2 / n) / n    (sample: / (n - 1))

c is the whole number nearest to the mean, hence |D1| <= n / 2 and D1**2 / n <= D2 / 2: nothing cancels, unlike in
``sum(v**2) / n - mean**2``, and the relative error is that of a few roundings, below 1e-14.
"""

from pydantic.dataclasses import dataclass

from tidemark.definition.measures.base import CONFIG, Dialect, OfColumn, State, as_double, quote
from tidemark.definition.measures.counts import count_state
from tidemark.definition.measures.sums import FIXED_POINT_SCALE, too_wide
from tidemark.definition.schema import FLOATS, EventSchema

_LIMB_DIGITS = 14
_BASE = 10**_LIMB_DIGITS


@dataclass(frozen=True, config=CONFIG)
class Variance(OfColumn):
    """Variance of the values that are not null, a DOUBLE: of a sample (SQL's VAR_SAMP) unless ``population`` is set.

    Null where there is no value, and for a sample of one value; 0 for a population of one. Independent of the order and
    grouping of merges, bit for bit; relative error below 1e-14. A DOUBLE is rounded to nine decimals first, as for Sum.
    A column may have 28 digits, a window a billion values; beyond, engines fail rather than answer wrong.
    """

    population: bool = False
    """Divide by n, for values that are the whole population, and not by n - 1."""

    def problems(self, schema: EventSchema) -> list[str]:
        return self.not_a_number(schema) + too_wide(self, schema)

    def states(self, name: str, schema: EventSchema) -> tuple[State, ...]:
        column = schema[self.column]
        digits, scale = (18 + FIXED_POINT_SCALE, FIXED_POINT_SCALE) if column.sql in FLOATS else column.digits
        whole = f"CAST({quote(self.column)} AS DECIMAL({digits},{scale}))"
        if scale:
            whole = f"CAST({whole} * {10**scale}BD AS DECIMAL({digits},0))"
        if digits <= _LIMB_DIGITS:
            sums = {"lo": whole, "lo_lo": f"{whole} * {whole}"}
        else:
            hi, lo = (f"CAST({whole} {operator} {_BASE}BD AS DECIMAL({_LIMB_DIGITS},0))" for operator in ("div", "%"))
            sums = {"lo": lo, "lo_lo": f"{lo} * {lo}", "hi": hi, "hi_lo": f"{hi} * {lo}", "hi_hi": f"{hi} * {hi}"}
        return (
            count_state(name, f"count({quote(self.column)})"),
            *(State.of(name, kind, "DECIMAL(38,0)", f"sum({of})", "sum") for kind, of in sums.items()),
        )

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        column = schema[self.column]
        scale = FIXED_POINT_SCALE if column.sql in FLOATS else column.scale
        kept = {state.column for state in self.states(name, schema)}
        spark = dialect is Dialect.SPARK

        def big(expression: str) -> str:
            return f"CAST({expression} AS {'DECIMAL(38,0)' if spark else 'HUGEINT'})"

        def state(kind: str) -> str:
            return big(f"{name}__{kind}" if f"{name}__{kind}" in kept else "0")

        def modulo(dividend: str, divisor: str) -> str:
            if spark:
                return f"pmod({dividend}, {big(divisor)})"
            return f"((({dividend}) % {divisor} + {divisor}) % {divisor})"

        def whole_part(dividend: str, divisor: str) -> str:
            # What is divided is a multiple, so that the quotient is exact in both.
            return f"({dividend} - {modulo(dividend, divisor)}) {'/' if spark else '//'} {divisor}"

        n, hi, lo, hi_hi, hi_lo, lo_lo = (state(kind) for kind in ("count", "hi", "lo", "hi_hi", "hi_lo", "lo_lo"))
        total = big(f"{hi} * {_BASE} + {lo}")
        c = big(whole_part(f"(2 * {total} + {n})", f"(2 * {n})"))
        # Few levels with large expressions: an engine's time to bind grows exponentially with nested lambdas.
        of_c = {"hi": whole_part(c, str(_BASE)), "lo": modulo(c, str(_BASE)), "d1": f"{total} - {n} * {c}"}
        squares = {
            "d1": "_c.d1",
            "s0": f"{lo_lo} - 2 * _c.lo * {lo} + {n} * _c.lo * _c.lo",
            "s1": f"2 * ({hi_lo} - _c.hi * {lo} - _c.lo * {hi} + {n} * _c.hi * _c.lo)",
            "s2": f"{hi_hi} - 2 * _c.hi * {hi} + {n} * _c.hi * _c.hi",
        }
        # D2 = s2 * 10**28 + s1 * 10**14 + s0, with carries, so that its parts have one sign and do not cancel.
        carried = f"(_d.s1 + {big(whole_part('_d.s0', str(_BASE)))})"
        s0, s1 = modulo("_d.s0", str(_BASE)), modulo(carried, str(_BASE))
        s2 = f"_d.s2 + {big(whole_part(carried, str(_BASE)))}"
        d1, s0, s1, s2 = (as_double(part, dialect) for part in ("_d.d1", s0, s1, s2))
        high, middle, unit = (f"CAST('1e{power}' AS DOUBLE)" for power in (2 * _LIMB_DIGITS, _LIMB_DIGITS, 2 * scale))
        events = f"CAST({name}__count AS DOUBLE)"
        over = events if self.population else f"CAST({name}__count - 1 AS DOUBLE)"
        result = f"({s2} * {high} + {s1} * {middle} + {s0} - {d1} * {d1} / {events}) / {over} / {unit}"
        for variable, parts in (("_d", squares), ("_c", of_c)):
            result = _let(variable, {part: big(expression) for part, expression in parts.items()}, result, dialect)
        return f"CASE WHEN {name}__count > {0 if self.population else 1} THEN {result} END"


@dataclass(frozen=True, config=CONFIG)
class StdDev(Variance):
    """Standard deviation: the square root of ``Variance``, with its guarantees; of a sample by default."""

    def finish(self, name: str, schema: EventSchema, dialect: Dialect) -> str:
        return f"sqrt({super().finish(name, schema, dialect)})"


def _let(variable: str, parts: dict[str, str], result: str, dialect: Dialect) -> str:
    """A SQL expression in which ``variable`` is a struct of these parts: a lambda over a list of one."""
    if dialect is Dialect.SPARK:
        struct = ", ".join(f"'{name}', {expression}" for name, expression in parts.items())
        return f"transform(array(named_struct({struct})), {variable} -> {result})[0]"
    struct = ", ".join(f"'{name}': {expression}" for name, expression in parts.items())
    return f"list_transform([{{{struct}}}], lambda {variable}: {result})[1]"
