"""Files of events that land in S3: their records are put into the pipeline's stream, then they are set aside.

Each line of a file is a record, put as it is: what does not parse is quarantined by the stream, like every record. A
file that was put is moved from ``s3://BUCKET/FOLDER/`` to ``s3://BUCKET/FOLDER_done/``; what is in the folder is still
to be put. At least once: whoever dies between the two puts the file again, and silver holds each key once.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from botocore.exceptions import ClientError

from tidemark.definition import Pipeline
from tidemark.errors import TidemarkError
from tidemark.producers.producer import Produced, partition_key, put_records

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

MAX_LINE_BYTES = 10 * 2**20
"""The largest record that a Kinesis stream can be set to take."""
_GZIP = b"\x1f\x8b"
_REFUSED_RECORD = ("InvalidArgumentException", "ValidationException")


class LandingError(TidemarkError):
    """A landed file cannot be put: it is damaged, or has a line that Kinesis does not take."""


class Folder(NamedTuple):
    """Where files of a pipeline land: a bucket, and a prefix that ends with a slash."""

    bucket: str
    prefix: str

    @property
    def pattern(self) -> str:
        """Matches every key in the folder, but not the empty object that some tools make for the folder itself."""
        return f"{self.prefix}?*"

    def aside(self, kind: str, file: "File") -> str:
        """The key of a file that was set aside; by its content, so that no other of the same name is overwritten."""
        return f"{self.prefix.rstrip('/')}_{kind}/{file.etag.strip(chr(34))}/{file.key.removeprefix(self.prefix)}"


class File(NamedTuple):
    """A landed file, as it was when it was listed."""

    key: str
    etag: str


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
    return [File(item["Key"], item["ETag"]) for item in found]


def put_file(s3: Any, kinesis: "KinesisClient", pipeline: Pipeline, folder: Folder, file: File) -> Produced:
    """Put the records of a file, and set it aside as done.

    Raises:
        LandingError: it cannot be put, and was set aside as failed; the records before the fault are in the stream.
    """
    produced = Produced()
    body = s3.get_object(Bucket=folder.bucket, Key=file.key, IfMatch=file.etag)["Body"]
    try:
        put_records(kinesis, pipeline.source.name, _records(body, pipeline), produced)
    except (LandingError, gzip.BadGzipFile, zlib.error, EOFError, ClientError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] not in _REFUSED_RECORD:
            raise
        aside = set_aside(s3, folder, file, "failed")
        raise LandingError(
            f"s3://{folder.bucket}/{file.key} cannot be put beyond its first {produced.records:,} records: {error}. It "
            f"is now s3://{folder.bucket}/{aside}: mend it, and let it land again; what is there twice counts once"
        ) from error
    set_aside(s3, folder, file, "done")
    return produced


def set_aside(s3: Any, folder: Folder, file: File, kind: str) -> str:
    """Move a file out of the folder, unless somebody has overwritten it meanwhile; its new key."""
    aside = folder.aside(kind, file)
    source = {"Bucket": folder.bucket, "Key": file.key}
    s3.copy(source, folder.bucket, aside, ExtraArgs={"CopySourceIfMatch": file.etag})
    s3.delete_object(Bucket=folder.bucket, Key=file.key, IfMatch=file.etag)
    return aside


def _records(body: Any, pipeline: Pipeline) -> Iterator[tuple[bytes, str]]:
    for line in lines(body):
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
