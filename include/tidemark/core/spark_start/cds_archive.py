"""The JVM's archive of the classes that Spark loads, so that each driver starts with them read and verified.

Class data sharing, by an archive that a JVM writes as it ends (JEP 350, since JDK 13): here one that has rehearsed what
the jobs do, on tables of its own. ``spark_conf`` names it to every driver on this machine; a JVM that it does not fit
goes on without it.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import (
    JAVA_OPTIONS,
    QUIET_ARCHIVE,
    class_archive,
    class_archive_name,
    java_executable,
    submit_command,
    submit_environment,
)

PATIENCE_SECONDS = 900


def ensure_class_archive(settings: Settings, say: Callable[[str], None]) -> Path | None:
    """The archive for this Java and this Spark, made on the first call only; None, and why is said, if it cannot be.

    Raises:
        PreconditionError: no Java, or no Delta jars.
    """
    java_executable()
    if found := class_archive(settings):
        return found
    say("Rehearsing, so that Spark starts faster from now on (once, half a minute) …")
    try:
        return _make(settings.jars_dir.absolute(), settings)
    except (OSError, subprocess.SubprocessError, _RehearsalError) as error:
        say(f"Spark starts no faster, as the rehearsal failed: {error}")
        return None


class _RehearsalError(Exception):
    """The job failed, or its JVM made no archive."""


def _make(folder: Path, settings: Settings) -> Path:
    with tempfile.TemporaryDirectory(dir=folder, prefix="rehearsal-") as scratch:
        made = Path(scratch) / "classes.jsa"
        # Nothing here runs long enough for the optimising compiler to pay.
        options = {JAVA_OPTIONS: f'"-XX:ArchiveClassesAtExit={made}" -XX:TieredStopAtLevel=1 {QUIET_ARCHIVE}'}
        places = {"lake_uri": f"{scratch}/lake", "state_uri": f"{scratch}/state", "storage_options": {}}
        rehearsal = settings.model_copy(update={**places, "spark_master": "local[2]", "spark_conf": options})
        done = subprocess.run(
            submit_command("rehearse", [], rehearsal),
            env=submit_environment(rehearsal), capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        if done.returncode or not made.exists():
            raise _RehearsalError("\n".join([*done.stderr.splitlines(), *done.stdout.splitlines()][-8:]))
        with made.open("rb") as written:
            os.fsync(written.fileno())  # a JVM dies of an archive that is cut off
        name, replaced = class_archive_name(made.stat().st_size)
        for old in folder.glob(replaced):
            old.unlink(missing_ok=True)
        return made.replace(folder / name)
