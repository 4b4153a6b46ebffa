"""A real HDFS for tests: a NameNode and a DataNode in one JVM, with WebHDFS on 127.0.0.1."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tidemark.core.spark_start.conf import java_executable, pyspark_folder

_ARTIFACT = ("org.apache.hadoop", "hadoop-client-minicluster")


class NoHdfsError(Exception):
    """There is no HDFS to be had here; the message says why."""


def ensure_minicluster(folder: Path) -> Path:
    """Hadoop's mini cluster of the release that PySpark brings, fetched into a folder on the first call (55 MB)."""
    version = next((pyspark_folder() / "jars").glob("hadoop-client-api-*.jar")).stem.rpartition("-")[2]
    jar = folder / f"{_ARTIFACT[1]}-{version}.jar"
    if jar.exists():
        return jar
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="ivy-") as scratch:
        done = subprocess.run(
            [
                java_executable(), "-cp", f"{pyspark_folder()}/jars/*", "org.apache.ivy.Main",
                "-cache", f"{scratch}/cache", "-dependency", *_ARTIFACT, version, "-confs", "default", "-notransitive",
                "-retrieve", f"{scratch}/[artifact]-[revision].[ext]",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        fetched = Path(scratch) / jar.name
        if done.returncode or not fetched.exists():
            raise NoHdfsError(f"{':'.join(_ARTIFACT)}:{version} could not be fetched: {done.stdout[-300:].strip()}")
        shutil.move(fetched, jar)
    return jar


@contextlib.contextmanager
def running_hdfs(minicluster: Path, folder: Path) -> Iterator[str]:
    """``host:port`` of WebHDFS, with its data in a folder; its only user is whoever runs the tests."""
    classpath = f"{minicluster}:{pyspark_folder()}/jars/*"
    source = Path(__file__).with_name("MiniHdfs.java")
    with (folder / "hdfs.log").open("w") as log:
        server = subprocess.Popen(
            [java_executable(), "-Xmx512m", "-cp", classpath, str(source), str(folder / "data")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            started = server.stdout.readline().split()
            if len(started) != 2:
                raise AssertionError(f"HDFS did not start: {(folder / 'hdfs.log').read_text()[-2000:]}")
            yield started[1]
        finally:
            # The end of its input is what it waits for.
            server.stdin.close()
            server.wait(60)
            server.stdout.close()
