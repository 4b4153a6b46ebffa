"""An idempotent sink of files for queries over a stream: one file a batch; a replay with other rows is an error."""

import json
from pathlib import Path

from pyspark.sql import DataFrame

Row = tuple[str, str, str]


def write_once(folder: Path, batch: int, values: list[Row], *, lossy: bool = False) -> None:
    """Write a batch's rows, or check that they are those of its first run; ``lossy``: or some of them."""
    folder.mkdir(parents=True, exist_ok=True)
    target, rows = folder / f"{batch}.json", sorted(values)
    if target.exists():
        first = [tuple(row) for row in json.loads(target.read_text())]
        assert first == rows or (lossy and set(rows) <= set(first)), f"batch {batch} was replayed with other rows"
        return
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps(rows))
    draft.rename(target)


def rows_of(frame: DataFrame) -> list[Row]:
    """Shard, sequence number and data of each row."""
    wanted = frame.select(frame.columns[3], frame.columns[4], frame.columns[0])
    return [(row[0], row[1], bytes(row[2]).decode()) for row in wanted.collect()]


def batches_of(folder: Path) -> list[list[Row]]:
    """The batches that were written, in order."""
    files = sorted(folder.glob("*.json"), key=lambda path: int(path.stem))
    return [[tuple(row) for row in json.loads(path.read_text())] for path in files]
