"""Files of events that land in S3: their records are put into the pipeline's stream, then they are set aside.

Each line of a file is a record, put as it is: what does not parse is quarantined by the stream, like every record. A
file that was put is moved from ``s3://BUCKET/FOLDER/`` to ``s3://BUCKET/FOLDER_done/``; what is in the folder is still
to be put. At least once: whoever dies between the two puts the file again, and silver holds each key once. What is
wrong with one file concerns that file only: it is set aside, or left where it is, and the error says which.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from tidemark.core.errors import TidemarkError
from tidemark.definition import Pipeline
from tidemark.pipelines.producers.producer import Produced, partition_key, put_records

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

MAX_LINE_BYTES = 10 * 2**20
"""The largest record that a Kinesis stream can be set to take."""
_GZIP = b"\x1f\x8b"
_REFUSED_RECORD = ("InvalidArgumentException", "ValidationException")
_CHANGED = ("412", "PreconditionFailed", "404", "NoSuchKey")
"""Codes of S3's answers where somebody has overwritten or removed a file since it was listed."""
MAX_KEY_BYTES = 1_024
"""The longest key that S3 takes, in bytes of UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects")."""


class LandingError(TidemarkError):
    """A landed file cannot be put: it is damaged, or has a line that Kinesis does not take."""


class FileLeftError(TidemarkError):
    """S3 does not give a landed file, or does not let it be moved: it is where it was, and is tried again."""


class Folder(NamedTuple):
    """Where files of a pipeline land: a bucket, and a prefix that ends with a slash."""

    bucket: str
    prefix: str

    @property
    def pattern(self) -> str:
        """Matches every key in the folder, but not the empty object that some tools make for the folder itself."""
        return f"{self.prefix}?*"

    def aside(self, kind: str, file: "File") -> str:
        """The key of a file that was set aside; by its content, so that no other of the same name is overwritten.

        Where the whole name would make a key too long for S3, a digest of it stands for its beginning.
        """
        place = f"{self.prefix.rstrip('/')}_{kind}/{file.etag.strip(chr(34))}/"
        name = file.key.removeprefix(self.prefix).encode()
        room = MAX_KEY_BYTES - len(place.encode())
        if len(name) > room:
            digest = hashlib.sha256(name).hexdigest()
            end = name[len(name) - room + len(digest) + 1 :].decode(errors="ignore")
            return f"{place}{digest}_{end.rpartition('/')[2]}"
        return f"{place}{name.decode()}"


class File(NamedTuple):
    """A landed file, as it was when it was listed."""

    key: str
    etag: str
    modified: datetime


def folder_of(pipeline: Pipeline) -> Folder | None:
    """The folder that a pipeline's definition names; None if it names none."""
    if pipeline.landing is None:
        return None
    parts = urlsplit(pipeline.landing)
    return Folder(parts.netloc, parts.path.removeprefix("/"))


def landed(s3: Any, folder: Folder) -> list[File]:
    """The files in the folder, the oldest first."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=folder.bucket, Prefix=folder.prefix)
    found = [item for page in pages for item in page.get("Contents", []) if item["Key"] != folder.prefix]
    found.sort(key=lambda item: (item["LastModified"], item["Key"]))
    return [File(item["Key"], item["ETag"], item["LastModified"]) for item in found]


def put_file(s3: Any, kinesis: "KinesisClient", pipeline: Pipeline, folder: Folder, file: File) -> Produced | None:
    """Put the records of a file, and set it aside as done; None if it is not there any more as it was listed.

    A file that an earlier call put and could not remove is set aside only: its copy says so, which is newer than it is.

    Raises:
        LandingError: it cannot be put, and was set aside as failed; the records before the fault are in the stream.
        FileLeftError: S3 does not give it, or does not let it be moved; it is still in the folder, and is tried again.
    """
    produced = Produced()
    if _was_put(s3, folder, file):
        set_aside(s3, folder, file, "done")
        return None
    try:
        body = s3.get_object(Bucket=folder.bucket, Key=file.key, IfMatch=file.etag)["Body"]
    except (BotoCoreError, ClientError) as error:
        if _code(error) in _CHANGED:
            return None
        raise _left(folder, file, "cannot be read", error) from error
    try:
        put_records(kinesis, pipeline.source.name, _records(body, pipeline), produced)
    except _UnreadError as error:
        raise _left(folder, file, f"cannot be read beyond its first {produced.records:,} records", error) from error
    except (LandingError, ClientError) as error:
        if isinstance(error, ClientError) and _code(error) not in _REFUSED_RECORD:
            raise
        where = f"s3://{folder.bucket}/{file.key}"
        try:
            aside = set_aside(s3, folder, file, "failed")
        except FileLeftError as left:
            raise FileLeftError(
                f"{where} cannot be put beyond its first {produced.records:,} records: {error}. {left}"
            ) from left
        now = f"It is now s3://{folder.bucket}/{aside}: fix it" if aside else "Somebody has overwritten it: fix it"
        raise LandingError(
            f"{where} cannot be put beyond its first {produced.records:,} records: {error}. {now}, and let it land "
            "again; what is there twice counts once"
        ) from error
    set_aside(s3, folder, file, "done")
    return produced


def _was_put(s3: Any, folder: Folder, file: File) -> bool:
    try:
        copy = s3.head_object(Bucket=folder.bucket, Key=folder.aside("done", file))
    except (BotoCoreError, ClientError):  # mostly: there is none
        return False
    # One that lands again after its copy was made is put again: who wants events to be loaded again lands them anew.
    # Both times are in whole seconds.
    return bool(copy["LastModified"] >= file.modified)


def set_aside(s3: Any, folder: Folder, file: File, kind: str) -> str | None:
    """Move a file out of the folder; its new key, or None if somebody has overwritten or removed it meanwhile.

    Raises:
        FileLeftError: S3 does not let it be moved.
    """
    aside = folder.aside(kind, file)
    source = {"Bucket": folder.bucket, "Key": file.key}
    try:
        s3.copy(source, folder.bucket, aside, ExtraArgs={"CopySourceIfMatch": file.etag})
        s3.delete_object(Bucket=folder.bucket, Key=file.key, IfMatch=file.etag)
    except (Boto3Error, BotoCoreError, ClientError) as error:
        if _code(error) in _CHANGED:
            return None
        raise _left(folder, file, f"cannot be moved to {aside}", error) from error
    return aside


def _left(folder: Folder, file: File, what: str, error: Exception) -> FileLeftError:
    return FileLeftError(
        f"s3://{folder.bucket}/{file.key} {what}: {error}. It is still there, and is tried again: let Tidemark read, "
        "write and delete in this bucket (where it cannot write, each try puts the file's records again), restore the "
        "file if it is archived, or take it away"
    )


def _code(error: Exception) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else ""


class _UnreadError(Exception):
    """The connection to S3 broke, or S3 gave less than the whole file."""


def _whole(body: Any) -> Iterator[bytes]:
    """The lines of a file; what is wrong with the file is told apart from what is wrong with the way to it."""
    try:
        yield from lines(body)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise LandingError(str(error)) from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise _UnreadError(str(error)) from error


def _records(body: Any, pipeline: Pipeline) -> Iterator[tuple[bytes, str]]:
    for line in _whole(body):
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = line
        yield line, partition_key(event if isinstance(event, dict) else line, pipeline)


def lines(body: io.RawIOBase) -> Iterator[bytes]:
    """The lines of a file that are not blank, of a gzipped one too.

    Raises:
        LandingError: a line is longer than any record may be.
    """
    buffered = io.BufferedReader(body, 2**20)
    zipped = buffered.peek(len(_GZIP)).startswith(_GZIP)
    text: Any = gzip.GzipFile(fileobj=buffered) if zipped else buffered
    for number, line in enumerate(iter(lambda: text.readline(MAX_LINE_BYTES + 1), b""), start=1):
        if len(line) > MAX_LINE_BYTES:
            raise LandingError(f"line {number:,} is longer than {MAX_LINE_BYTES:,} bytes: are these lines of JSON?")
        if line := line.strip():
            yield line
