"""Where a ledger can live: file systems on which a file is written whole, and once."""

import contextlib
import functools
import os
import shutil
import uuid
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from pyspark_kinesis.errors import OptionError


class Store(Protocol):
    """What the ledger needs of a file system. Paths are relative, with slashes. Safe to share between threads.

    What is on the way to being written has names that begin with a dot, which ``list`` leaves out. All methods raise
    OSError (disks) or a KinesisSourceError (services), whose message names the remedy.
    """

    # So many calls at once are faster than one after the other; 1 where a call costs less than a thread.
    concurrency: int

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """Write a file whole, or leave the one that is there; durable on return, and seen by whoever reads next.

        False if there was one. It may be this very call's, where the answer to its first attempt was lost: reading it
        tells.
        """
        ...

    def get(self, path: str) -> bytes | None:
        """A file's content; None if there is none."""
        ...

    def list(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none if it does not exist. The root is an empty path."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file, if it is there."""
        ...

    def delete_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        ...


class LocalStore:
    """A store in a folder that driver and executors share: a local disk, or a mount that has hard links."""

    concurrency = 1

    def __init__(self, root: Path) -> None:
        self.root = root

    def put_if_absent(self, path: str, content: bytes) -> bool:
        target = self.root / path
        # Written aside and linked: a reader sees a whole file or none, and of two writers one wins.
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            try:
                handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, target)
        except FileExistsError:
            won = False
        else:
            won = True
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
        # Its names have to outlast a power cut as well, also where the winner has not come to that yet.
        for folder in (target.parent, *target.parent.parents):
            _sync(folder)
            if folder == self.root:
                break
        return won

    def get(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None

    def list(self, folder: str) -> list[str]:
        try:
            return sorted(name for name in (path.name for path in (self.root / folder).iterdir()) if name[0] != ".")
        except FileNotFoundError:
            return []

    def delete(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)

    def delete_folder(self, folder: str) -> None:
        shutil.rmtree(self.root / folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_store(
    location: str, *, endpoint_url: str | None = None, region: str = "us-east-1", profile: str | None = None
) -> Store:
    """The store for a ``ledgerLocation``, one a process, so that connections stay open; asks nothing of it yet.

    An absolute path or ``file:`` URI, local on each machine whatever Spark's default file system is;
    ``s3://bucket/prefix`` (``s3a``, ``s3n`` alike); ``webhdfs://[user@]host:port/path``, or
    ``swebhdfs`` over TLS, with several NameNodes as ``host:port,host:port``; ``hdfs://…/path`` with the NameNode's HTTP
    address as ``endpoint_url``. For S3, ``endpoint_url`` is the server if not AWS, by default what
    AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL say, and ``region`` a guess that the service may correct,
    and ``profile`` a profile of ~/.aws in place of the default chain.

    Raises OptionError for anything else: a relative path would be another folder in each process, and a scheme with one
    slash (``dbfs:/x``) is not a folder of that name.
    """
    if urlsplit(location).scheme in _S3 and "://" in location:
        endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return _shared_store(location, endpoint_url or None, region, profile)


_S3 = ("s3", "s3a", "s3n")
_WEBHDFS = ("webhdfs", "swebhdfs")
_KNOWN = (*_S3, *_WEBHDFS, "hdfs")


@functools.cache
def _shared_store(location: str, endpoint_url: str | None, region: str, profile: str | None) -> Store:
    parts = urlsplit(location)
    if location.startswith("/"):
        return LocalStore(Path(location))
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return LocalStore(Path(unquote(parts.path)))
    _check(location, parts)
    # Imported where they are used: what a worker imports is part of what its first micro-batch costs.
    if parts.scheme in _S3:
        from pyspark_kinesis.offsets.stores.s3 import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"), region=region, endpoint_url=endpoint_url, profile=profile)
    if parts.scheme in (*_WEBHDFS, "hdfs"):
        from pyspark_kinesis.offsets.stores.webhdfs import WebHdfsStore

        user, _, hosts = parts.netloc.rpartition("@")
        if parts.scheme == "hdfs":
            if endpoint_url is None:
                # libhdfs, through pyarrow, needs a JVM in each worker; and pyarrow's move() deletes a target that is
                # there and tries again ("allow file -> file clobber" in Arrow's hdfs.cc): it is not put-if-absent.
                raise OptionError(
                    f"ledgerLocation {location!r}: HDFS is reached over HTTP. Write "
                    f"webhdfs://<NameNode>:9870{parts.path} (swebhdfs:// over TLS), or set ledgerEndpointUrl to "
                    "http://<NameNode>:9870 (dfs.namenode.http-address)"
                )
            bases = endpoint_url.split(",")
        else:
            bases = [f"{'https' if parts.scheme == 'swebhdfs' else 'http'}://{host}" for host in hosts.split(",")]
        return WebHdfsStore(bases, parts.path.rstrip("/"), user=user or None)
    raise OptionError(
        f"ledgerLocation {location!r}: {parts.scheme}:// is not supported. It must be a folder that the driver and all "
        "executors share, as an absolute path or file: URI, or s3://bucket/prefix, or webhdfs://host:port/path"
    )


def _check(location: str, parts: SplitResult) -> None:
    """Raise OptionError for what would silently become another place."""
    if not parts.scheme or parts.scheme == "file":
        raise OptionError(
            f"ledgerLocation {location!r} is not an absolute path, so each process would take it for a folder of its "
            "own: write /path or file:///path, a folder that the driver and all executors share, or s3://bucket/prefix"
        )
    if parts.scheme in _KNOWN and "://" not in location:
        raise OptionError(
            f"ledgerLocation {location!r} has one slash where two are needed, and so names no bucket or host: write "
            "s3://bucket/prefix, webhdfs://host:port/path or hdfs://nameservice/path"
        )
    if not parts.netloc and parts.scheme in _S3 + _WEBHDFS:
        raise OptionError(f"ledgerLocation {location!r} names no bucket or host: write s3://bucket/prefix")
    segments = parts.path.strip("/").split("/")
    if parts.query or parts.fragment or {".", ".."} & set(segments) or (len(segments) > 1 and "" in segments):
        raise OptionError(f"ledgerLocation {location!r}: leave out '?', '#', '//' and segments of dots from the path")
