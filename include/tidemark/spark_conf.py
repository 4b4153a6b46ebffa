"""Spark's settings and submit commands, without Spark: shared by sessions, the CLI and the DAGs."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tidemark.errors import PreconditionError
from tidemark.settings import Settings

LOCAL_MASTER = "local[2]"
RESULT = "result "
"""How the line of a job's output begins that holds its figures, as JSON."""
PARENTS_VARIABLE = "TIDEMARK_PARENTS"
"""Environment variable with the ids of processes, by commas, that a driver below them does not outlive."""
_RENAMES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"


def spark_conf(settings: Settings) -> dict[str, str]:
    """Settings of every Tidemark session, for small ones: Spark's own 200 and Delta's 50 partitions cost seconds."""
    jars = sorted(settings.jars_dir.glob("*.jar"))
    if not jars:
        raise PreconditionError(f"there are no Delta jars in {settings.jars_dir}: run `tidemark jars`")
    # On a local disk a rename is atomic, and Spark's default pays 30 ms for it, twice a micro-batch and stream. The
    # default also tells of a second driver, which is not needed: every commit is a compare-and-set.
    on_disk = {} if "://" in settings.state_uri else {"spark.sql.streaming.checkpointFileManagerClass": _RENAMES}
    return {
        **on_disk,
        "spark.jars": ",".join(str(jar) for jar in jars),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        # INT96, the default, has no statistics, which staged files bring into the log.
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        # A batch only to advance the watermark costs as much as one with rows, and evicts what the next one evicts.
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.streaming.metricsEnabled": "false",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.log.level": "WARN",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.warehouse.dir": str(settings.home / "warehouse"),
        "spark.driver.memory": "2g",
        "spark.pyspark.python": sys.executable,
        **settings.spark_conf,
    }


def job_path(job: str, settings: Settings) -> Path:
    """The script of a job in spark/jobs."""
    return settings.project_dir / "spark" / "jobs" / f"{job}.py"


def submit_command(job: str, arguments: list[str], settings: Settings, *, master: str = LOCAL_MASTER) -> list[str]:
    """The spark-submit command of a job; nothing passes a shell."""
    submit = Path(sys.executable).with_name("spark-submit")
    command = [str(submit), "--master", master]
    for key, value in spark_conf(settings).items():
        command += ["--conf", f"{key}={value}"]
    return [*command, str(job_path(job, settings)), *arguments]


def submit_environment(settings: Settings) -> dict[str, str]:
    """The environment of a job: this process's, this Python and its Spark, and the settings as the job reads them."""
    settings_of_job = {
        "TIDEMARK_PROJECT_DIR": settings.project_dir,
        "TIDEMARK_HOME": settings.home,
        "TIDEMARK_LAKE_URI": settings.lake_uri,
        "TIDEMARK_STATE_URI": settings.state_uri,
        "TIDEMARK_JARS_DIR": settings.jars_dir,
        "TIDEMARK_DATA_DOCS_DIR": settings.data_docs_dir,
        "TIDEMARK_PIPELINES_DIR": settings.pipelines_dir,
        "TIDEMARK_KINESIS_ENDPOINT_URL": settings.kinesis_endpoint_url,
        "TIDEMARK_AWS_REGION": settings.aws_region,
        "TIDEMARK_MAX_RECORDS_PER_BATCH": settings.max_records_per_batch,
        "TIDEMARK_TRIGGER_SECONDS": settings.trigger_seconds,
        "TIDEMARK_RETRY_SECONDS": settings.retry_seconds,
        "TIDEMARK_STALL_SECONDS": settings.stall_seconds,
        "TIDEMARK_SPARK_POOL": settings.spark_pool,
        "TIDEMARK_SPARK_SLOTS": settings.spark_slots,
        "TIDEMARK_APPROVAL_DAYS": settings.approval_days,
        "TIDEMARK_MIN_FREE_BYTES": settings.min_free_bytes,
    }
    return {
        **os.environ,
        # pip's spark-submit asks whatever python3 is on the PATH where Spark is.
        "SPARK_HOME": str(pyspark_folder()),
        "PYSPARK_PYTHON": sys.executable,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        PARENTS_VARIABLE: str(os.getpid()),
        **{name: str(value) for name, value in settings_of_job.items() if value is not None},
    }


def pyspark_folder() -> Path:
    """Where PySpark is installed, without importing it.

    Raises:
        PreconditionError: it is not installed.
    """
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise PreconditionError("pyspark is not installed: run `make setup`")
    return Path(spec.origin).parent


def java_executable() -> str:
    """The ``java`` that Spark will use, at version 17 or newer.

    Raises:
        PreconditionError: there is none, or it is older; the message says what to install.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    remedy = "install a JDK 17 or 21 (Debian: apt-get install openjdk-17-jdk-headless) or set JAVA_HOME"
    if java is None or not Path(java).exists():
        raise PreconditionError(f"no Java found: {remedy}")
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    first = shown.split('"')[1] if '"' in shown else ""
    major = first.split(".")[1] if first.startswith("1.") else first.split(".")[0]
    if not major.isdigit() or int(major) < 17:
        raise PreconditionError(f"{java} is Java {first or 'unknown'}, Spark needs 17 or newer: {remedy}")
    return java
