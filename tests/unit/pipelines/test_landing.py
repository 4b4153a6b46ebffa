"""Landed files: where they are, what their lines are, and calls of Kinesis that are not too large."""

import gzip
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from sample_pipeline import make_pipeline

from tidemark.core.errors import DefinitionError
from tidemark.pipelines.producers.landing import MAX_LINE_BYTES, File, Folder, LandingError, folder_of, lines
from tidemark.pipelines.producers.producer import MAX_BYTES_PER_PUT, batched, partition_key

LANDED = datetime(2026, 1, 1, tzinfo=UTC)


class Body(io.RawIOBase):
    """A file as it comes from S3: read once, from front to end."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(buffer)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lines_come_as_they_are_without_blank_ones(pack: Any) -> None:
    assert list(lines(Body(pack(b'{"a": 1}\r\n\n  \n[not json\n\xff\xfe')))) == [b'{"a": 1}', b"[not json", b"\xff\xfe"]


@pytest.mark.parametrize("data", [b"", b"\n\n", gzip.compress(b"", mtime=0)])
def test_an_empty_file_has_no_lines(data: bytes) -> None:
    assert list(lines(Body(data))) == []


def test_a_file_without_lines_is_not_read_into_memory() -> None:
    with pytest.raises(LandingError, match="line 2 is longer than 10,485,760 bytes"):
        list(lines(Body(b"first\n" + b"x" * (MAX_LINE_BYTES + 1))))


def test_a_folder_says_where_its_files_go_and_two_files_of_one_name_go_apart() -> None:
    folder = folder_of(make_pipeline(landing="s3://bucket/in/shops/"))
    assert folder == Folder("bucket", "in/shops/")
    done = {folder.aside("done", File("in/shops/day/1.json", etag, LANDED)) for etag in ('"aa"', '"bb"')}
    assert done == {"in/shops_done/aa/day/1.json", "in/shops_done/bb/day/1.json"}
    assert folder_of(make_pipeline()) is None


@pytest.mark.parametrize("name", ["x" * 1_015, "é/" * 338, "a/" + "x" * 1_000 + ".jsonl.gz"])
def test_a_file_of_the_longest_key_is_set_aside_under_a_key_that_s3_takes(name: str) -> None:
    folder = Folder("bucket", "in/shops/")
    etag = f'"{"0" * 32}-10000"'
    aside = [folder.aside("failed", File(f"in/shops/{start}{name[1:]}", etag, LANDED)) for start in "ab"]
    assert all(len(key.encode()) <= 1_024 and key.startswith("in/shops_failed/000") for key in aside)
    assert len(set(aside)) == 2, "two names that differ in what was cut"
    assert all(key.endswith(name[-6:].rpartition("/")[2]) for key in aside)
    longest = folder_of(make_pipeline(landing=f"s3://bucket/{'f' * 792}/"))
    assert longest is not None
    assert len(longest.aside("failed", File(f"{longest.prefix}{'x' * 200}", etag, LANDED)).encode()) <= 1_024
    with pytest.raises(DefinitionError, match="is longer than 800 bytes: choose a shorter folder"):
        make_pipeline(landing=f"s3://bucket/{'f' * 793}/")


def test_an_event_nested_too_deep_for_a_key_is_put_like_every_other() -> None:
    deep: dict[str, Any] = {"id": []}
    for _ in range(2_000):
        deep = {"id": [deep["id"]]}
    # What Python makes of it differs by version; Kinesis takes a key of 1 to 256 characters.
    assert 1 <= len(partition_key(deep, make_pipeline())) <= 256


@pytest.mark.parametrize(
    "wrong",
    [
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/in",
        "bucket/in/",
        "s3://b/in/*/",
        "/in/",
        "s3://bucket/a#b/",
        "s3://bucket/a\n/",
        "s3://bucket/in/\n",
    ],
)
def test_a_landing_that_is_no_folder_is_refused(wrong: str) -> None:
    with pytest.raises(DefinitionError, match=r"write s3://BUCKET/FOLDER/"):
        make_pipeline(landing=wrong)


def test_a_call_has_neither_more_records_nor_more_bytes_than_kinesis_takes() -> None:
    half = b"x" * (MAX_BYTES_PER_PUT // 2)
    assert [len(chunk) for chunk in batched([(half, "k")] * 3, 500)] == [1, 1, 1], "the keys count too"
    assert [len(chunk) for chunk in batched([(half[:-1], "k")] * 3, 500)] == [2, 1]
    assert [len(chunk) for chunk in batched([(b"x", "k")] * 5, 2)] == [2, 2, 1]
    assert list(batched([], 2)) == []
