"""Resolves the Delta jars once, into the project's own folder, whatever ~/.m2 and ~/.ivy2 hold.

Spark's own ``--packages`` looks into ~/.m2 first and fails on half-downloaded artifacts there. Ivy itself comes with
Spark; called with settings that name Maven Central only and a cache of its own, it does not.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tidemark.errors import PreconditionError
from tidemark.settings import Settings
from tidemark.spark_conf import java_executable, pyspark_folder

DELTA_ARTIFACT = ("io.delta", "delta-spark_4.2_2.13", "4.4.0")
_IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""


def ensure_jars(settings: Settings, say: Callable[[str], None]) -> list[Path]:
    """The Delta jars, downloaded on the first call only; a call that was interrupted leaves nothing half-done.

    Raises:
        PreconditionError: no Java, or the download failed; the message holds Ivy's last lines.
    """
    present = sorted(settings.jars_dir.glob("*.jar"))
    if present:
        return present
    java = java_executable()
    spark_jars = pyspark_folder() / "jars"
    say(f"Resolving {':'.join(DELTA_ARTIFACT)} (once, about 90 MB) …")
    settings.jars_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.jars_dir.parent, prefix="jars-") as scratch:
        folder = Path(scratch)
        (folder / "ivysettings.xml").write_text(_IVY_SETTINGS)
        done = subprocess.run(
            [
                java, "-cp", f"{spark_jars}/*", "org.apache.ivy.Main",
                "-settings", str(folder / "ivysettings.xml"), "-cache", str(folder / "cache"),
                "-dependency", *DELTA_ARTIFACT, "-confs", "default",
                "-retrieve", str(folder / "jars" / "[artifact]-[revision].[ext]"),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = sorted((folder / "jars").glob("*.jar"))
        if done.returncode or not any(jar.name.startswith(DELTA_ARTIFACT[1]) for jar in found):
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
            raise PreconditionError(f"the Delta jars could not be downloaded; check the network and try again:\n{tail}")
        shipped = {jar.name.rsplit("-", 1)[0] for jar in spark_jars.glob("*.jar")}
        ready = folder / "ready"
        ready.mkdir()
        for jar in found:
            if jar.name.rsplit("-", 1)[0] not in shipped:
                shutil.move(jar, ready / jar.name)
        shutil.rmtree(settings.jars_dir, ignore_errors=True)
        ready.rename(settings.jars_dir)
    return sorted(settings.jars_dir.glob("*.jar"))
