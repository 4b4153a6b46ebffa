"""What is said of the batch tables after a reprocess: that they cover its dates, those that have events."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tidemark.core.errors import DisagreementError
from tidemark.core.settings import Settings
from tidemark.lake.commits import IdempotentWriter, set_transactions
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import covered_app
from tidemark.monitoring.asset_facts import batch_facts
from tidemark.pipelines.flights import flights

DAY = date(2013, 1, 1)
WEEK = (DAY, DAY + timedelta(days=7))


def test_a_date_without_events_need_not_be_covered_and_one_with_events_must_be(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    tables = tables_of(flights, settings)
    create_tables(tables, settings)
    assert {facts["covered_segment"] for facts in batch_facts(flights, settings, *WEEK, 0).values()} == {0}
    rows = [{"segment": 0, "event_date": DAY}, {"segment": 1, "event_date": DAY + timedelta(days=1)}]
    filled = [{**dict.fromkeys(tables.silver.schema.names), "ingest_batch": 0, **row} for row in rows]
    IdempotentWriter(tables.silver, settings).append(pa.Table.from_pylist(filled, schema=tables.silver.schema), 0)
    with pytest.raises(DisagreementError, match=r"covers 2013-01-01 through segment -1, and"):
        batch_facts(flights, settings, *WEEK, 0)
    for table in tables.batch.values():
        set_transactions(open_table(table, settings), {covered_app(DAY): 0})
    assert {facts["covered_segment"] for facts in batch_facts(flights, settings, *WEEK, 0).values()} == {0}
    with pytest.raises(
        DisagreementError, match=r"covers 2013-01-01 through segment 0, 2013-01-02 through segment -1, "
    ):
        batch_facts(flights, settings, *WEEK, 1)
