"""The Delta jars are resolved once, whatever other tools left behind, and drivers start from archived classes."""

import os
import subprocess
import sys
from pathlib import Path

from tidemark.core.settings import get_settings
from tidemark.core.spark_start.cds_archive import ensure_class_archive
from tidemark.core.spark_start.conf import JAVA_OPTIONS, java_executable, spark_conf, submit_environment
from tidemark.core.spark_start.jars import ensure_jars

COMMAND = [str(Path(sys.executable).with_name("tidemark")), "jars", "--no-archive"]
SUBMIT = str(Path(sys.executable).with_name("spark-submit"))
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
    # A JDK with certificate authorities of its own, among which the network's is not: the system's are taken then.
    store = f"-Djavax.net.ssl.trustStore={_strange_authorities(tmp_path)} -Djavax.net.ssl.trustStorePassword=public"
    options = f"-Duser.home={user} {store}"
    environment = {**os.environ, "TIDEMARK_HOME": str(tmp_path / "home"), "JAVA_TOOL_OPTIONS": options}
    first = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr[-2000:]
    jars = sorted((tmp_path / "home" / "jars").glob("*.jar"))
    assert any(jar.name.startswith("delta-spark_4.2_2.13") and jar.stat().st_size > 1_000_000 for jar in jars)
    # A proxy that refuses: whatever would be downloaded now, fails.
    refusing = "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9 -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9"
    offline = {**environment, "JAVA_TOOL_OPTIONS": f"-Duser.home={user} {refusing}"}
    second = subprocess.run(COMMAND, env=offline, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr[-2000:]
    assert "Resolving" not in second.stderr


def _strange_authorities(folder: Path) -> Path:
    made = folder / "strange.p12"
    command = [str(Path(java_executable()).with_name("keytool")), "-genkeypair", "-keystore", str(made)]
    options = ["-alias", "x", "-dname", "CN=x", "-keyalg", "EC", "-storetype", "PKCS12", "-storepass", "public"]
    subprocess.run([*command, *options], check=True, capture_output=True)
    return made


def test_a_driver_starts_from_the_archive_of_classes(tmp_path: Path) -> None:
    settings = get_settings()
    ensure_jars(settings, print)
    archive = ensure_class_archive(settings, print)  # the setup has made it
    conf = spark_conf(settings)
    assert f'"-XX:SharedArchiveFile={archive}"' in conf[JAVA_OPTIONS]
    (tmp_path / "nothing.py").touch()
    # With it or not at all: this JVM ends if the archive does not fit it.
    command = [SUBMIT, "--conf", f"{JAVA_OPTIONS}={conf[JAVA_OPTIONS]} -Xshare:on", str(tmp_path / "nothing.py")]
    environment = submit_environment(settings)
    used = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert used.returncode == 0, used.stdout[-2000:] + used.stderr[-2000:]
    other = [part.replace("classes-", "no-such-") for part in command]
    refused = subprocess.run(other, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode != 0, "it does not show whether the archive is used"
