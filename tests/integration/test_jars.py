"""The Delta jars are resolved whatever other tools left on the machine, once."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [str(Path(sys.executable).with_name("tidemark")), "jars"]
DELTA = "io/delta/delta-spark_4.2_2.13/4.4.0"


def test_half_downloaded_files_of_maven_and_ivy_do_no_harm_and_a_second_run_downloads_nothing(tmp_path: Path) -> None:
    user = tmp_path / "user"
    # What an interrupted download leaves: a pom without its jar, and a jar that is cut off.
    maven = user / ".m2" / "repository" / DELTA
    maven.mkdir(parents=True)
    (maven / "delta-spark_4.2_2.13-4.4.0.pom").write_text("<project><modelVersion>4.0.0</modelVersion>")
    ivy = user / ".ivy2" / "cache" / "io.delta" / "delta-spark_4.2_2.13" / "jars"
    ivy.mkdir(parents=True)
    (ivy / "delta-spark_4.2_2.13-4.4.0.jar").write_bytes(b"PK\x03\x04 cut off")
    # An interrupted fetch of our own, too.
    (tmp_path / "home" / "jars-left").mkdir(parents=True)
    environment = {**os.environ, "TIDEMARK_HOME": str(tmp_path / "home"), "JAVA_TOOL_OPTIONS": f"-Duser.home={user}"}
    first = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert first.returncode == 0, first.stderr[-2000:]
    jars = sorted((tmp_path / "home" / "jars").glob("*.jar"))
    assert any(jar.name.startswith("delta-spark_4.2_2.13") and jar.stat().st_size > 1_000_000 for jar in jars)
    # A proxy that refuses: whatever would be downloaded now, fails.
    refusing = "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9 -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9"
    offline = {**environment, "JAVA_TOOL_OPTIONS": f"-Duser.home={user} {refusing}"}
    second = subprocess.run(COMMAND, env=offline, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 0, second.stderr[-2000:]
    assert "Resolving" not in second.stderr
