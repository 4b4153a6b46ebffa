"""Resolves the Delta jars once, into the project's own folder, whatever ~/.m2 and ~/.ivy2 hold.

Spark's own ``--packages`` looks into ~/.m2 first and fails on half-downloaded artifacts there. Ivy itself comes with
Spark; called with settings that name Maven Central only and a cache of its own, it does not.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tidemark.errors import PreconditionError
from tidemark.settings import Settings
from tidemark.spark_conf import java_executable, pyspark_folder

SPARK = "4.2"
"""The Spark that is installed here."""
DELTA_ARTIFACT = ("io.delta", "delta-spark_{spark}_2.13", "4.4.0")
"""Its group, name and version; the name says which Spark it is for."""
_IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""


def ensure_jars(settings: Settings, say: Callable[[str], None], spark: str = SPARK) -> list[Path]:
    """The Delta jars for a version of Spark, downloaded on the first call only, and whole or not at all.

    Raises:
        PreconditionError: no version, no Java, or the download failed; the message holds Ivy's last lines.
    """
    if not re.fullmatch(r"\d+\.\d+", spark):
        raise PreconditionError(f"{spark!r} is no version of Spark: write its first two numbers, such as {SPARK}")
    folder = settings.jars_dir if spark == SPARK else settings.jars_dir.with_name(f"{settings.jars_dir.name}-{spark}")
    artifact = tuple(part.format(spark=spark) for part in DELTA_ARTIFACT)
    present = sorted(folder.glob("*.jar"))
    if present:
        return present
    java = java_executable()
    spark_jars = pyspark_folder() / "jars"
    say(f"Resolving {':'.join(artifact)} (once, about 90 MB) …")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="jars-") as scratch:
        work = Path(scratch)
        (work / "ivysettings.xml").write_text(_IVY_SETTINGS)
        done = subprocess.run(
            [
                java, "-cp", f"{spark_jars}/*", "org.apache.ivy.Main",
                "-settings", str(work / "ivysettings.xml"), "-cache", str(work / "cache"),
                "-dependency", *artifact, "-confs", "default",
                "-retrieve", str(work / "jars" / "[artifact]-[revision].[ext]"),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = sorted((work / "jars").glob("*.jar"))
        if done.returncode or not any(jar.name.startswith(artifact[1]) for jar in found):
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
            raise PreconditionError(f"the Delta jars could not be downloaded; check the network and try again:\n{tail}")
        shipped = {jar.name.rsplit("-", 1)[0] for jar in spark_jars.glob("*.jar")}
        ready = work / "ready"
        ready.mkdir()
        for jar in found:
            if jar.name.rsplit("-", 1)[0] not in shipped:
                shutil.move(jar, ready / jar.name)
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)
    return sorted(folder.glob("*.jar"))
