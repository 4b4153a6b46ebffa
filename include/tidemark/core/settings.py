"""Settings, read in one place from ``TIDEMARK_*`` environment variables and frozen."""

import contextlib
import importlib.util
import re
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tidemark.core.errors import SettingsError

_FILE = Path(__file__).resolve()
_ROOT = _FILE.parents[2]
BUNDLE = _ROOT if _ROOT.is_file() or (_ROOT / "expectations").is_dir() else None
"""What this code runs from as a job on a cluster does: ``tidemark package``'s zip, or where Spark unpacked it."""
_SHIPPED = _FILE.parents[1] / "project"
"""What an installed wheel brings of the checkout, in the same folders: dags/, spark/jobs/ and expectations/."""
INSTALLED = _SHIPPED.is_dir()
"""Whether this is an installed wheel, and neither a checkout nor a bundle."""


def _home(data: dict[str, Any]) -> Path:
    # An installation has no folder of its own to write to, and all processes of one user must agree on one.
    folder = Path.cwd() if BUNDLE else Path.home() if INSTALLED else data["project_dir"]
    return Path(folder) / ".tidemark"


_MASTER = re.compile(r"local(\[(\d+|\*)(,\d+)?\])?|spark://[\w.:,\[\]-]+|yarn")


class Settings(BaseSettings):
    """Where things are. Everything has a default that works for the embedded default on one machine."""

    model_config = SettingsConfigDict(env_prefix="TIDEMARK_", env_ignore_empty=True, frozen=True, extra="forbid")

    project_dir: Path = BUNDLE or (_SHIPPED if INSTALLED else _FILE.parents[3])
    """The checkout, a bundle of it, or a folder of one's own: holds expectations/, spark/jobs/ and dags/."""
    home: Path = Field(default_factory=_home)
    """Everything that Tidemark makes on this machine: jars, the embedded lake, Airflow's home, logs. Installed from a
    wheel, it is in the user's home."""
    lake_uri: str = Field(default_factory=lambda data: str(data["home"] / "lake"))
    """Root of all Delta tables: a path, or an s3:// URI."""
    state_uri: str = Field(default_factory=lambda data: str(data["home"] / "state"))
    """Root of the streams' checkpoint locations and of the Kinesis ledgers."""
    jars_dir: Path = Field(default_factory=lambda data: data["home"] / "jars")
    """Folder with the Delta jars, filled once by ``tidemark jars``."""
    data_docs_dir: Path = Field(default_factory=lambda data: data["home"] / "data_docs")
    """Folder of Great Expectations' Data Docs: every validation's results as pages, from index.html on."""
    data_docs_days: int = Field(default=30, ge=1)
    """How long a validation's pages stay there; the table ``validations`` keeps every result."""
    pipelines_dir: Path | None = None
    """A folder of one's own pipeline definitions, which may hold their suites, too."""
    pipelines_package: str | None = None
    """A package of one's own pipeline definitions, such as ``acme.pipelines``, which may hold their suites, too."""
    sample_pipelines: bool = True
    """Whether the pipelines that come with Tidemark are there beside one's own."""
    kinesis_endpoint_url: str | None = None
    """Endpoint of Kinesis where it is not AWS itself."""
    aws_region: str = "us-east-1"
    storage_options: dict[str, str] = Field(default_factory=dict)
    """Options of the object store for delta-rs (none needed for paths)."""
    trigger_seconds: float = Field(default=0.5, ge=0)
    """Processing-time trigger of both streams."""
    max_records_per_batch: int = Field(default=50_000, ge=1)
    """Records that one micro-batch reads at most."""
    max_bytes_per_batch: int = Field(default=64 * 2**20, ge=2**20)
    """Bytes of data that one micro-batch reads at most; a driver needs about ten times that of memory. Where a record
    holds several events, each counts as 320 bytes at least."""
    schedules: bool = True
    """Whether DAGs have their schedules; without them each run is triggered by hand, and Airflow shows no next run."""
    streams_run_by: Literal["airflow", "platform"] = "airflow"
    """Who keeps the streams alive: the DAG ``stream``, or whoever started the platform, as ``tidemark up`` does."""
    spark_pool: str = "tidemark_spark"
    """Airflow's pool of the batch jobs: it limits how many Spark drivers run at once beside the streams'."""
    spark_slots: int = Field(default=2, ge=1)
    """Slots that the pool is made with; change them in Airflow's UI afterwards."""
    stall_seconds: float = Field(default=1800, gt=0)
    """How long the streams' queries may show no sign of life before their driver ends itself, to be started again."""
    approval_days: int = Field(default=31, ge=1)
    """A reprocess of more event dates than this waits for approval in Airflow before Spark starts."""
    reprocess_limit_seconds: float = Field(default=6 * 3600, gt=0)
    """How long a reprocess may be under way in Airflow, waiting included, before an alert says so while it goes on."""
    retry_seconds: float = Field(default=30, gt=0)
    """How long Airflow waits before it starts a driver again that was lost."""
    min_free_bytes: int = Field(default=2**30, ge=0)
    """Free space of a local lake below which Airflow starts no job that writes."""
    spark_master: str = "local[2]"
    """Where jobs run that Airflow does not start: local[N], spark://HOST:PORT, yarn. In Airflow a connection says."""
    spark_bundle: str | None = None
    """What ``tidemark package`` made, which jobs on a cluster take code, suites and jars from: a folder, or on S3."""
    spark_python: str | None = None
    """Python of a cluster where the bundle brings none, at this path on all its machines and here; unless set, ours."""
    spark_conf: dict[str, str] = Field(default_factory=dict)
    """Further Spark settings for every session."""
    spark_runs_on: Literal["connection", "emr_serverless"] = "connection"
    """Where Airflow's jobs run: where its connection says, by spark-submit, or in an application of EMR Serverless."""
    emr_application_id: str | None = None
    """EMR Serverless: the application, of the bundle's version of Spark."""
    emr_execution_role_arn: str | None = None
    """EMR Serverless: the role that jobs have; it reads bundle and stream, and writes lake, state and logs."""
    emr_log_uri: str | None = None
    """EMR Serverless: where on S3 the logs of drivers and executors go."""

    @field_validator("spark_master")
    @classmethod
    def _known_master(cls, master: str) -> str:
        if not _MASTER.fullmatch(master):
            raise ValueError(f"{master!r} is not a master of Spark: write local[N], spark://HOST:PORT or yarn")
        return master

    def project_file(self, name: str) -> Path | zipfile.Path:
        """A file or folder of the project, in the checkout or in the bundle that the code runs from.

        Elsewhere: in ``project_dir``, beside one's own definitions, or in what the installation brings, in this order.
        If it is in none of them, its place in ``project_dir``.
        """
        if self.project_dir.is_file():
            return zipfile.Path(self.project_dir, name)
        return next((path for folder in self._folders() if (path := folder / name).exists()), self.project_dir / name)

    def _folders(self) -> Iterator[Path]:
        yield self.project_dir
        if self.pipelines_dir is not None:
            yield self.pipelines_dir
        if self.pipelines_package is not None:
            # Its parents are imported by that, and a name that is wrong is an error where definitions are loaded.
            with contextlib.suppress(ImportError, ValueError):
                spec = importlib.util.find_spec(self.pipelines_package)
                yield from map(Path, (spec and spec.submodule_search_locations) or ())
        if INSTALLED:
            yield _SHIPPED


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a ``TIDEMARK_*`` variable is malformed; the message names the variable.
    """
    try:
        # What runs from a bundle takes definitions and suites from there, whatever the environment names.
        # The definitions of a folder are among those that ship there.
        return Settings(project_dir=BUNDLE, pipelines_dir=None, sample_pipelines=True) if BUNDLE else Settings()
    except ValidationError as error:
        lines = [f"TIDEMARK_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise SettingsError("settings are wrong: " + "; ".join(lines)) from error
