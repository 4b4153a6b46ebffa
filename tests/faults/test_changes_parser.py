"""Hostile records, split by the product and by the attack's own parser: the same events, and the same texts of fields.

It needs no Spark, so it sees thousands of records in seconds; the schedules see what becomes of a few of them.
"""

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from changes_parser import Nested, said_by
from changes_records import Records

from tidemark.core.documents import ORDINAL, PROBLEM, RAW, RecordFormat, Splitter

NAMES = ["id", "kind", "at", "sent", "money", "units", "until", "note"]


@pytest.mark.parametrize("holds", ["object", "lines", "array"])
@pytest.mark.parametrize("seed", range(4))
def test_records_are_split_as_other_parsers_split_them(seed: int, holds: RecordFormat) -> None:
    splitter = Splitter(NAMES, holds)
    for data in Records(seed, holds).draw(250):
        [split] = splitter.events(pa.RecordBatch.from_pylist([{"data": data}]))
        rows = split.to_pylist()
        events = said_by(data, holds)
        assert [(row[ORDINAL], row[PROBLEM] is None) for row in rows] == [
            (event.ordinal, event.members is not None) for event in events
        ], data[:2000]
        for row, event in zip(rows, events, strict=True):
            for name in NAMES if event.members is not None else ():
                assert says_the_same(row[RAW][name], (event.members or {}).get(name)), (name, data[:2000])


def says_the_same(text: str | None, token: Any) -> bool:
    """Whether the text of a field, as the product hands it on, is that of a token of ijson's."""
    if token is None or text is None:
        return text is token is None
    if isinstance(token, bool):
        return text == str(token).lower()
    if isinstance(token, int | Decimal):
        return Decimal(text) == token
    return isinstance(token, Nested) or text == token
