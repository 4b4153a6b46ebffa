"""What is acknowledged outlasts a power cut, on local disks: files are synced before what says that they are there.

delta-rs and Spark leave it to the file system when a file's content reaches the disk. A cut then leaves a name whose
content is empty or cut off, also where a later step has said that the file is there. So an append syncs the files of
its commit before it returns, which is before Spark acknowledges the micro-batch; and a stream looks at the newest
commits and at its checkpoint before it starts (``refuse_damaged``), since what was not acknowledged may be torn.
Object stores acknowledge what is durable: for them nothing is done.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import orjson
from deltalake import DeltaTable

from tidemark.core.errors import TableError
from tidemark.lake.tables import Table

if TYPE_CHECKING:  # what each Python worker of Spark imports is a part of the start of each query
    from tidemark.core.settings import Settings

_LOOKED_AT = 20
"""Newest commits of a table that are looked at: more than are ever under way at once."""


def local_folder(uri: str) -> Path | None:
    """The folder of a table or checkpoint on a local disk; None if it is on an object store."""
    if uri.startswith("file:"):
        return Path(unquote(uri.removeprefix("file:")).replace("//", "/", 1))
    return None if "://" in uri else Path(uri)


def sync_commits(table: DeltaTable, uri: str, after: int) -> None:
    """Make the commits behind version ``after`` durable: the files that they add, then the commits and their folders.

    Raises OSError where the disk cannot do it: nothing may be acknowledged then.
    """
    root = local_folder(uri)
    if root is None:
        return
    log = root / "_delta_log"
    for version in range(after + 1, table.version() + 1):
        commit = log / f"{version:020d}.json"
        if not commit.exists():
            continue  # cleaned up, long after it was synced
        added = [root / path for path, _ in _added(commit)]
        present = [path for path in added if path.exists()]
        for path in present:
            _sync(path)
        for folder in _folders(present, root):
            _sync(folder)
        _sync(commit)
    _sync(log)


def refuse_damaged(tables: Iterable[Table], checkpoints: Iterable[str], settings: "Settings") -> None:
    """Check that a power cut has left nothing torn in the newest commits of tables, or in checkpoints of streams.

    Raises:
        TableError: it has; the message names the files, and what to remove so that the streams go on without a loss.
    """
    state = local_folder(settings.state_uri)
    for table in tables:
        root = local_folder(table.uri)
        if root is None or not (root / "_delta_log").is_dir():
            continue
        commits = sorted(path for path in (root / "_delta_log").glob("*.json") if path.stem.isdigit())[-_LOOKED_AT:]
        for n, commit in enumerate(commits):
            if torn := _torn(commit, root):
                remove = ", ".join(path.name for path in commits[n:])
                raise TableError(
                    f"{torn} of the table at {table.uri}, as a power cut leaves it. Remove {remove} from "
                    f"{root / '_delta_log'}, and the streams' checkpoints below {state or settings.state_uri} of this "
                    "pipeline: they go on after what the tables hold, and read again what Kinesis and bronze still have"
                )
    for checkpoint in checkpoints:
        folder = local_folder(checkpoint)
        for name in ("offsets", "commits"):
            files = sorted(path for path in (folder / name).glob("*") if path.name.isdigit()) if folder else []
            for path in sorted(files, key=lambda file: int(file.name))[-2:]:
                if not path.read_bytes().startswith(b"v") or b"\n" not in path.read_bytes():
                    raise TableError(
                        f"the checkpoint file {path} is empty or cut off, as a power cut leaves it. Remove the folder "
                        f"{folder}: the stream goes on after what its tables hold, and nothing is lost or doubled"
                    )


def _torn(commit: Path, root: Path) -> str:
    """What is wrong with a commit or a file that it adds; or nothing."""
    try:
        added = _added(commit)
    except ValueError:
        return f"the commit {commit.name} is empty or cut off"
    for path, size in added:
        file = root / path
        if file.exists() and file.stat().st_size != size:
            return f"the file {path} has {file.stat().st_size} of the {size} bytes that the commit {commit.name} states"
    return ""


def _added(commit: Path) -> list[tuple[str, int]]:
    """Path and size of the files that a commit adds; ValueError where it is torn."""
    # Bytes: as text, also a U+2028 or U+0085 in the bounds of a column of strings would end a line.
    actions = [orjson.loads(line) for line in commit.read_bytes().splitlines() if line]
    if not actions:
        raise ValueError(f"{commit} is empty")
    return [(unquote(action["add"]["path"]), action["add"]["size"]) for action in actions if "add" in action]


def _folders(files: Iterable[Path], root: Path) -> list[Path]:
    """The folders that hold files, up to the table's, the deepest first."""
    found = {folder for file in files for folder in file.parents if folder == root or root in folder.parents}
    return sorted(found | {root}, key=lambda folder: -len(folder.parts))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
