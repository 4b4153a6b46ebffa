"""The JVM's archive of the classes that Spark loads, so that each driver starts with them read and verified.

Class data sharing, by an archive that a JVM writes as it ends (JEP 350, since JDK 13): here one that has rehearsed what
the jobs do, on tables of its own. ``spark_conf`` names it to every driver on this machine; a JVM that it does not fit
goes on without it.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tidemark.settings import Settings
from tidemark.spark_conf import (
    JAVA_OPTIONS,
    QUIET_ARCHIVE,
    class_archive,
    java_executable,
    submit_command,
    submit_environment,
)


def ensure_class_archive(settings: Settings, say: Callable[[str], None]) -> Path | None:
    """The archive for this Java and this Spark, made on the first call only; None, and why is said, if it cannot be.

    Raises:
        PreconditionError: no Java, or no Delta jars.
    """
    java_executable()
    archive = class_archive(settings)
    if archive is None or archive.exists():
        return archive
    say("Rehearsing, so that Spark starts faster from now on (once, half a minute) …")
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="rehearsal-") as scratch:
        made = Path(scratch) / archive.name
        # Nothing here runs long enough for the optimising compiler to pay.
        options = {JAVA_OPTIONS: f'"-XX:ArchiveClassesAtExit={made}" -XX:TieredStopAtLevel=1 {QUIET_ARCHIVE}'}
        places = {"lake_uri": f"{scratch}/lake", "state_uri": f"{scratch}/state", "storage_options": {}}
        rehearsal = settings.model_copy(update={**places, "spark_master": "local[2]", "spark_conf": options})
        command = submit_command("rehearse", [], rehearsal)
        done = subprocess.run(command, env=submit_environment(rehearsal), capture_output=True, text=True, check=False)
        if done.returncode or not made.exists():
            said = "\n".join([*done.stderr.splitlines(), *done.stdout.splitlines()][-8:])
            say(f"Spark starts as slowly as before, as the rehearsal failed:\n{said}")
            return None
        made.replace(archive)
    for other in archive.parent.glob("classes-*.jsa"):  # of another Java or Spark
        if other != archive:
            other.unlink(missing_ok=True)
    return archive
