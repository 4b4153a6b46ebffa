"""A power cut at any write leaves tables and checkpoints that are whole, or that a stream refuses with what to do."""

from datetime import date
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from sample_pipeline import make_pipeline

from tidemark.core.errors import TableError
from tidemark.core.settings import Settings
from tidemark.lake.commits import IdempotentWriter
from tidemark.lake.evolution import create_tables
from tidemark.lake.files.durability import refuse_damaged
from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import REFINE_APP

PIPELINE = make_pipeline()
DAY = date(2026, 1, 1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(lake_uri=str(tmp_path / "lake"), state_uri=str(tmp_path / "state"))
    create_tables(tables_of(PIPELINE, made), made)
    for position_ in range(3):
        append(made, position_)
    return made


def append(settings: Settings, to: int, key: str = "") -> bool:
    silver = tables_of(PIPELINE, settings).silver
    row = {"id": key or str(to), "ingest_batch": to, "segment": 0, "event_date": DAY}
    return IdempotentWriter(silver, settings).append(pa.Table.from_pylist([row], schema=silver.schema), to)


def silver_of(settings: Settings) -> Path:
    return Path(tables_of(PIPELINE, settings).silver.uri)


def newest_commit(settings: Settings) -> Path:
    return max((silver_of(settings) / "_delta_log").glob("*.json"))


def check(settings: Settings) -> None:
    refuse_damaged(tables_of(PIPELINE, settings), [f"{settings.state_uri}/shops/ingest"], settings)


def cut(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])


def test_whole_tables_pass(settings: Settings) -> None:
    check(settings)


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\n", "\x00", "\U0001f600"])
def test_a_key_with_any_character_can_be_committed(settings: Settings, odd: str) -> None:
    assert append(settings, 3, key=f"a{odd}b")
    actions = [orjson.loads(line) for line in newest_commit(settings).read_bytes().splitlines()]
    [stated] = [orjson.loads(action["add"]["stats"]) for action in actions if "add" in action]
    assert stated["minValues"]["id"] == f"a{odd}b"
    check(settings)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.5, 0.9])
def test_a_torn_commit_is_refused_and_the_remedy_lets_the_position_be_written_again(
    settings: Settings, kept: float
) -> None:
    torn = newest_commit(settings)
    cut(torn, kept)
    with pytest.raises(TableError, match=rf"{torn.name} is empty or cut off .*Remove {torn.name} from") as refused:
        check(settings)
    assert str(settings.state_uri) in str(refused.value)
    torn.unlink()
    check(settings)
    assert position(open_table(tables_of(PIPELINE, settings).silver, settings), REFINE_APP) == 1
    assert append(settings, 2)
    rows = open_table(tables_of(PIPELINE, settings).silver, settings).to_pyarrow_dataset().to_table()
    assert sorted(rows["id"].to_pylist()) == ["0", "1", "2"]


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_torn_data_file_is_refused(settings: Settings, kept: float) -> None:
    actions = [orjson.loads(line) for line in newest_commit(settings).read_bytes().splitlines()]
    [path] = [action["add"]["path"] for action in actions if "add" in action]
    cut(silver_of(settings) / path, kept)
    with pytest.raises(
        TableError, match=r"of the \d+ bytes that the commit .* states of the table at .*Remove 0+3\.json"
    ):
        check(settings)


@pytest.mark.parametrize("content", [b"", b"v", b"v1"])
@pytest.mark.parametrize("folder", ["offsets", "commits"])
def test_a_torn_checkpoint_is_refused(settings: Settings, folder: str, content: bytes) -> None:
    place = Path(settings.state_uri) / "shops" / "ingest" / folder
    place.mkdir(parents=True)
    for number in (8, 9):
        (place / str(number)).write_bytes(b'v1\n{"nextBatchWatermarkMs":0}')
    check(settings)
    (place / "10").write_bytes(content)
    with pytest.raises(TableError, match=rf"checkpoint file .*{folder}/10 is empty or cut off.*Remove the folder"):
        check(settings)


def test_a_damaged_checkpoint_of_the_log_is_told_with_its_table_and_heals_without_it(settings: Settings) -> None:
    silver = tables_of(PIPELINE, settings).silver
    DeltaTable(silver.uri).create_checkpoint()
    [checkpoint] = (silver_of(settings) / "_delta_log").glob("*.checkpoint.parquet")
    cut(checkpoint, 0.5)
    with pytest.raises(
        TableError, match=r"log of the table at .*silver cannot be read: .*remove the damaged checkpoint"
    ):
        open_table(silver, settings)
    checkpoint.unlink()
    (checkpoint.parent / "_last_checkpoint").unlink()
    assert position(open_table(silver, settings), REFINE_APP) == 2


def test_deletion_vectors_are_refused(settings: Settings, tmp_path: Path) -> None:
    silver = tables_of(PIPELINE, settings).silver
    writer = IdempotentWriter(silver, settings)
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    protocol = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}}
    commit = silver_of(settings) / "_delta_log" / f"{4:020d}.json"
    commit.write_bytes(orjson.dumps(protocol) + b"\n")
    with pytest.raises(TableError, match=r"silver.* has deletion vectors.*REORG TABLE"):
        open_table(silver, settings)
    with pytest.raises(TableError, match="has deletion vectors"):
        writer.append(pa.Table.from_pylist([], schema=silver.schema), 9)
