"""Spark's settings and submit commands, without Spark: shared by sessions, the CLI and the DAGs."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tidemark.core.errors import PreconditionError
from tidemark.core.extras import MissingExtraError
from tidemark.core.settings import Settings

RESULT = "result "
"""How the line of a job's output begins that holds its figures, as JSON."""
PARENTS_VARIABLE = "TIDEMARK_PARENTS"
"""Environment variable with the ids of processes, by commas, that a driver below them does not outlive."""
BUNDLE_CODE, BUNDLE_ENVIRONMENT = "tidemark.zip", "environment.tar.gz"
"""Files of a bundle: the code, and where it was packed the Python with all that the code needs."""
OUTCOME_VARIABLE = "TIDEMARK_OUTCOME_URI"
"""Environment variable with a folder, also on S3, where a job leaves what it says for who cannot hear it."""
OUTCOME_RESULT, OUTCOME_ERROR = "result.json", "error.json"
JAVA_OPTIONS = "spark.driver.defaultJavaOptions"
QUIET_ARCHIVE = "-Xlog:cds=off -Xlog:cds+dynamic=off"
"""An archive that does not fit is passed over, which is not worth a word on a job's standard output."""
FEW_CORES = 4
"""On so many cores or fewer, what a local driver's Java spends on optimising code is missing where the work is done."""
_QUICK_COMPILER = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
"""Without the optimising compiler. By itself that would leave Java 48 MB for compiled code, which Spark fills."""
_JAVA_REMEDY = "install a JDK 17 or 21 (Debian: apt-get install openjdk-17-jdk-headless) or set JAVA_HOME"
NO_JAVA = f"no Java found: {_JAVA_REMEDY}"
_EXECUTOR_ENV = "spark.executorEnv."
_RENAMES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
CODE_FOLDER, ENVIRONMENT_FOLDER = "tidemark", "environment"
"""Where Spark unpacks them, in the working folder of executors, and of a driver in the cluster."""
_BUSY_MACHINE = {
    # Driver and executors are one process: a late answer is a busy machine, never a lost one. Spark's own are 120 s,
    # 10 s and 15 s.
    "spark.network.timeout": "900s",
    "spark.executor.heartbeatInterval": "60s",
    "spark.python.authenticate.socketTimeout": "300s",
    "spark.python.task.killTimeout": "30s",
}
"""Spark's timeouts where everything runs on one machine, which other work may keep busy."""
_HERE_ONLY = {
    *("project_dir", "home", "jars_dir", "data_docs_dir", "pipelines_dir", "sample_pipelines"),
    *("spark_master", "spark_bundle", "spark_python", "spark_conf", "spark_runs_on"),
    *("emr_application_id", "emr_execution_role_arn", "emr_log_uri"),
    "storage_options",
}
"""Settings that mean nothing to a driver elsewhere, or must not stand in a job's configuration, as a store's keys."""


def spark_conf(settings: Settings, master: str | None = None, deploy_mode: str = "client") -> dict[str, str]:
    """Settings of every session on a master (unless given, the one of the settings), right for where it is.

    Raises:
        PreconditionError: the Delta jars or the bundle are not there, or the tables are where the master has no sight.
    """
    master = master or settings.spark_master
    if master.startswith("yarn") and (
        paths := [uri for uri in (settings.lake_uri, settings.state_uri) if "://" not in uri]
    ):
        raise PreconditionError(
            f"{' and '.join(paths)}: on YARN a path without a scheme is HDFS to Spark, and a disk to others: "
            "set TIDEMARK_LAKE_URI and TIDEMARK_STATE_URI to URIs such as s3://… or hdfs://…"
        )
    return {
        **session_conf(settings),
        "spark.jars": ",".join(_jars(settings, master)),
        "spark.driver.memory": "2g",
        **_driver(settings, master, deploy_mode),
        **_executors(settings, master),
        **settings.spark_conf,
        **(_java_options(settings, master) if deploy_mode == "client" else {}),
    }


def _java_options(settings: Settings, master: str) -> dict[str, str]:
    """The archive of classes, and what suits this machine, before what the settings say, which wins.

    In the options that Spark puts before a driver's own, which may stand in a spark-defaults.conf.
    """
    archive, given = class_archive(settings), settings.spark_conf.get(JAVA_OPTIONS, "")
    options = []
    if archive is not None and ":" not in str(archive):  # the JVM would take it for two
        options += [f'"-XX:SharedArchiveFile={archive}"', QUIET_ARCHIVE]
    if is_local(master) and (os.cpu_count() or 1) <= FEW_CORES:
        options.append(_QUICK_COMPILER)
    return {JAVA_OPTIONS: " ".join([*options, given]).strip()} if options else {}


def class_archive(settings: Settings) -> Path | None:
    """The archive of classes for this Java and this Spark, if there is one, and it is whole."""
    installed = _installed_name()
    for found in settings.jars_dir.absolute().glob(f"{installed}-*.jsa") if installed else ():
        if found.stem.rpartition("-")[2] == str(found.stat().st_size):
            return found
    return None


def class_archive_name(size: int) -> tuple[str, str]:
    """The name of an archive of so many bytes, and the pattern of those that it replaces: of the same places, older.

    Raises:
        PreconditionError: there is no Java.
    """
    installed = _installed_name()
    if installed is None:
        raise PreconditionError(NO_JAVA)
    return f"{installed}-{size}.jsa", f"{installed.rpartition('-')[0]}-*.jsa"


def _installed_name() -> str | None:
    """A name for where Java and Spark are, and one for their state there; None without a Java."""
    java = _java()
    if java is None or not java.exists():
        return None
    files = [java.resolve(), pyspark_folder() / "jars"]
    states = [f"{file.stat().st_mtime_ns} {file.stat().st_size}" for file in files]
    places, state = (
        hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=6).hexdigest() for parts in (files, states)
    )
    return f"classes-{places}-{state}"


def session_conf(settings: Settings) -> dict[str, str]:
    """The settings of every session that are the same wherever it runs."""
    # On a local disk a rename is atomic, and Spark's default pays 30 ms for it, twice a micro-batch and stream. The
    # default also tells of a second driver, which is not needed: every commit is a compare-and-set.
    on_disk = {} if "://" in settings.state_uri else {"spark.sql.streaming.checkpointFileManagerClass": _RENAMES}
    return {
        **on_disk,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        # INT96, the default, has no statistics, which staged files bring into the log.
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        # A batch only to advance the watermark costs as much as one with rows, and evicts what the next one evicts.
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.streaming.metricsEnabled": "false",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.log.level": "WARN",
        "spark.ui.showConsoleProgress": "false",
    }


def worker_python() -> str:
    """The Python that Spark starts as a worker on this machine: one that connects before it imports, where installed.

    See ``tidemark_spark.driver.early_worker``.
    """
    early = Path(sys.executable).with_name("tidemark-spark-python")
    return str(early) if early.exists() else sys.executable


def is_local(master: str) -> bool:
    """Whether driver and executors are one process of this machine."""
    return master.partition("[")[0] == "local"


def _driver(settings: Settings, master: str, deploy_mode: str) -> dict[str, str]:
    if deploy_mode == "cluster":
        # That driver is not a child of this process: what it must know of the settings stands in its configuration.
        variables = job_variables(settings, here=False)
        # Its Python finds what the executors' does.
        variables |= {
            key.removeprefix(_EXECUTOR_ENV): value
            for key, value in _executors(settings, master).items()
            if key.startswith(_EXECUTOR_ENV)
        }
        return {f"spark.yarn.appMasterEnv.{name}": value for name, value in variables.items()}
    host = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    return {
        # Executors elsewhere have to reach the driver: Spark finds this machine's address then.
        "spark.ui.enabled": "false",
        **(host if is_local(master) or _is_loopback(master) else {}),
        "spark.sql.warehouse.dir": (settings.home.absolute() / "warehouse").as_uri(),
        "spark.pyspark.driver.python": sys.executable,
    }


def _executors(settings: Settings, master: str) -> dict[str, str]:
    if is_local(master):
        # For small ones: Spark's own 200 and Delta's 50 partitions cost seconds.
        small = {"spark.sql.shuffle.partitions": "2", "spark.databricks.delta.snapshotPartitions": "2"}
        return {**small, **_BUSY_MACHINE, "spark.pyspark.python": worker_python()}
    same = {"spark.pyspark.python": settings.spark_python or sys.executable}
    bundle = bundle_folder(settings, master)
    if bundle is None:
        return same
    archives = [f"{bundle / BUNDLE_CODE}#{CODE_FOLDER}"]
    # By archives and not by --py-files: those are not on the path of the Python that Spark runs for a Python source on
    # the driver (4.2), and what is unpacked keeps its bytecode.
    code = {f"{_EXECUTOR_ENV}PYTHONPATH": f"./{CODE_FOLDER}"}
    if (bundle / BUNDLE_ENVIRONMENT).exists():
        archives.append(f"{bundle / BUNDLE_ENVIRONMENT}#{ENVIRONMENT_FOLDER}")
        # A name and not a path: the driver, which runs it for the sources too, has one of its own. PySpark gives this
        # PATH to the Pythons of both, and a Python looks there for itself, so the driver's follows.
        path = f"./{ENVIRONMENT_FOLDER}/bin:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        same = {"spark.pyspark.python": "python3", f"{_EXECUTOR_ENV}PATH": path}
    return {**same, **code, "spark.archives": ",".join(archives)}


def _is_loopback(master: str) -> bool:
    hosts = [host.rpartition(":")[0] for host in master.removeprefix("spark://").split(",")]
    return all(host in ("localhost", "[::1]") or host.startswith("127.") for host in hosts)


def _jars(settings: Settings, master: str) -> list[str]:
    bundle = bundle_folder(settings, master)
    folder = settings.jars_dir if bundle is None else bundle / "jars"
    jars = sorted(folder.glob("*.jar"))
    if not jars:
        remedy = "run `tidemark jars`" if bundle is None else "make the bundle again with `tidemark package`"
        raise PreconditionError(f"there are no Delta jars in {folder}: {remedy}")
    return [str(jar) for jar in jars]


def bundle_folder(settings: Settings, master: str) -> Path | None:
    """The bundle that spark-submit ships to a master; None where the code is there already.

    Raises:
        PreconditionError: the settings name one, and there is none.
    """
    if settings.spark_bundle is None or is_local(master):
        return None
    folder = Path(settings.spark_bundle).absolute()
    if not (folder / BUNDLE_CODE).is_file():
        raise PreconditionError(
            f"TIDEMARK_SPARK_BUNDLE={settings.spark_bundle} holds no bundle that spark-submit can ship: make one with "
            f"`tidemark package --output {settings.spark_bundle}`"
        )
    return folder


def job_path(job: str, settings: Settings, master: str | None = None) -> Path:
    """The script of a job in spark/jobs, or in the bundle that is shipped to a master."""
    bundle = bundle_folder(settings, master or settings.spark_master)
    return Path(str(settings.project_file(f"spark/jobs/{job}.py"))) if bundle is None else bundle / "jobs" / f"{job}.py"


def submit_command(job: str, arguments: list[str], settings: Settings) -> list[str]:
    """The spark-submit command of a job on the master of the settings; nothing passes a shell."""
    submit = Path(sys.executable).with_name("spark-submit")
    command = [str(submit), "--master", settings.spark_master]
    for key, value in spark_conf(settings).items():
        command += ["--conf", f"{key}={value}"]
    return [*command, str(job_path(job, settings)), *arguments]


def job_variables(settings: Settings, *, here: bool = True) -> dict[str, str]:
    """The settings as a job's environment; if not ``here``, those that were set and mean something elsewhere."""
    left_out = None if here else _HERE_ONLY
    values = settings.model_dump(mode="json", exclude_none=True, exclude_defaults=not here, exclude=left_out)
    return {
        f"TIDEMARK_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def submit_variables(settings: Settings, master: str) -> dict[str, str]:
    """What the environment of spark-submit must say beside the settings, where the driver is on this machine."""
    bundle = bundle_folder(settings, master)
    paths = [*([str(bundle / BUNDLE_CODE)] if bundle else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        # pip's spark-submit asks whatever python3 is on the PATH where Spark is.
        "SPARK_HOME": str(pyspark_folder()),
        "PYSPARK_PYTHON": sys.executable,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {}),
    }


def submit_environment(settings: Settings) -> dict[str, str]:
    """The environment of a job: this process's, this Python and its Spark, and the settings as the job reads them."""
    return {
        **os.environ,
        **submit_variables(settings, settings.spark_master),
        PARENTS_VARIABLE: str(os.getpid()),
        **job_variables(settings),
    }


def pyspark_folder() -> Path:
    """Where PySpark is installed, without importing it.

    Raises:
        PreconditionError: it is not installed.
    """
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise MissingExtraError("pyspark")
    return Path(spec.origin).parent


def java_executable() -> str:
    """The ``java`` that Spark will use, at version 17 or newer.

    Raises:
        PreconditionError: there is none, or it is older; the message says what to install.
    """
    java = _java()
    if java is None or not java.exists():
        raise PreconditionError(NO_JAVA)
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    first = shown.split('"')[1] if '"' in shown else ""
    major = first.split(".")[1] if first.startswith("1.") else first.split(".")[0]
    if not major.isdigit() or int(major) < 17:
        raise PreconditionError(f"{java} is Java {first or 'unknown'}, Spark needs 17 or newer: {_JAVA_REMEDY}")
    return str(java)


def _java() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    return None if found is None else Path(found)
