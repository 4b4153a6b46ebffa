"""What spark-submit is told, by where Spark runs: derived from the master, and from whether a bundle is shipped."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tidemark.core.errors import PreconditionError, SettingsError
from tidemark.core.settings import Settings, get_settings
from tidemark.core.spark_start.conf import (
    JAVA_OPTIONS,
    class_archive,
    class_archive_name,
    job_path,
    job_variables,
    spark_conf,
    submit_command,
    submit_environment,
    submit_variables,
)

LOOPBACK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A machine with jars, and a lake that every cluster sees."""
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "delta.jar").touch()
    return Settings(home=tmp_path, jars_dir=tmp_path / "jars", lake_uri="s3://lake/tables", state_uri="s3://lake/state")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    for name in ("tidemark.zip", "jars/shipped.jar", "jobs/stream.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def changed(settings: Settings, **values: Any) -> Settings:
    return settings.model_copy(update=values)


def test_a_local_master_keeps_to_this_machine(settings: Settings, bundle: Path) -> None:
    conf = spark_conf(changed(settings, spark_bundle=str(bundle)))
    assert LOOPBACK.items() <= conf.items()
    assert conf["spark.jars"] == str(settings.jars_dir / "delta.jar")
    assert conf["spark.pyspark.driver.python"] == sys.executable
    assert conf["spark.pyspark.python"] == str(Path(sys.executable).with_name("tidemark-spark-python"))
    assert conf["spark.sql.shuffle.partitions"] == "2"
    assert "spark.archives" not in conf, "the code is here"


def test_executors_elsewhere_reach_the_driver_and_share_the_work(settings: Settings) -> None:
    conf = spark_conf(settings, "spark://spark:7077")
    assert not LOOPBACK.keys() & conf.keys()
    assert "spark.sql.shuffle.partitions" not in conf
    assert conf["spark.sql.warehouse.dir"].startswith("file:///"), (
        "the driver's own, whatever the cluster's file system"
    )
    assert conf["spark.pyspark.python"] == sys.executable
    assert spark_conf(changed(settings, spark_python="/opt/python"), "yarn")["spark.pyspark.python"] == "/opt/python"


def test_a_cluster_on_this_machine_is_not_for_others_to_reach(settings: Settings) -> None:
    assert LOOPBACK.items() <= spark_conf(settings, "spark://127.0.0.1:7077").items()
    assert not LOOPBACK.keys() & spark_conf(settings, "spark://127.0.0.1:7077,spark-2:7077").keys()


@pytest.mark.parametrize("master", ["spark://spark:7077", "yarn"])
def test_a_bundle_is_shipped_to_a_cluster(settings: Settings, bundle: Path, master: str) -> None:
    with_bundle = changed(settings, spark_bundle=str(bundle))
    conf = spark_conf(with_bundle, master)
    assert conf["spark.archives"] == f"{bundle}/tidemark.zip#tidemark"
    assert conf["spark.executorEnv.PYTHONPATH"] == "./tidemark"
    assert submit_variables(with_bundle, master)["PYTHONPATH"].startswith(str(bundle / "tidemark.zip"))
    assert conf["spark.jars"] == str(bundle / "jars" / "shipped.jar")
    assert job_path("stream", with_bundle, master) == bundle / "jobs" / "stream.py"
    (bundle / "environment.tar.gz").touch()
    conf = spark_conf(with_bundle, master)
    assert conf["spark.archives"] == f"{bundle}/tidemark.zip#tidemark,{bundle}/environment.tar.gz#environment"
    assert conf["spark.pyspark.python"] == "python3"
    assert conf["spark.executorEnv.PATH"].startswith("./environment/bin:")
    assert conf["spark.pyspark.driver.python"] == sys.executable, "the driver is here"


def test_a_driver_in_the_cluster_gets_the_settings_but_no_path_and_no_key_of_this_machine(settings: Settings) -> None:
    held = changed(settings, storage_options={"AWS_SECRET_ACCESS_KEY": "of a store"}, stall_seconds=7.0)
    conf = spark_conf(held, "yarn", "cluster")
    assert conf["spark.yarn.appMasterEnv.TIDEMARK_LAKE_URI"] == "s3://lake/tables"
    assert conf["spark.yarn.appMasterEnv.TIDEMARK_STALL_SECONDS"] == "7.0"
    assert "of a store" not in str(conf)
    assert not [key for key, value in conf.items() if str(settings.home) in value and key != "spark.jars"]
    assert not {"spark.driver.host", "spark.pyspark.driver.python", "spark.sql.warehouse.dir"} & conf.keys()


def test_on_yarn_a_path_is_not_the_same_for_all(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match=r"TIDEMARK_LAKE_URI and TIDEMARK_STATE_URI"):
        spark_conf(changed(settings, lake_uri=str(tmp_path)), "yarn")


def test_a_bundle_that_is_none_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="tidemark package --output"):
        spark_conf(changed(settings, spark_bundle=str(tmp_path)), "yarn")


def test_the_users_own_settings_win(settings: Settings) -> None:
    own = changed(settings, spark_conf={"spark.driver.host": "10.0.0.7"})
    assert spark_conf(own)["spark.driver.host"] == "10.0.0.7"


def test_the_whole_command_for_a_yarn_cluster(settings: Settings, bundle: Path) -> None:
    on_yarn = changed(settings, spark_master="yarn", spark_bundle=str(bundle))
    (bundle / "environment.tar.gz").touch()
    command = submit_command("stream", ["--pipeline", "flights"], on_yarn)
    assert command[0].endswith("spark-submit")
    assert command[1:3] == ["--master", "yarn"]
    assert command[-3:] == [f"{bundle}/jobs/stream.py", "--pipeline", "flights"]
    told = dict(pair.split("=", 1) for pair in command[4:-3:2])
    assert set(command[3:-3:2]) == {"--conf"}
    assert told == spark_conf(on_yarn)


def test_a_job_reads_the_settings_that_it_was_started_with(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given = changed(settings, storage_options={"region": "eu-central-1"}, schedules=False, spark_master="local[1]")
    for name, value in submit_environment(given).items():
        monkeypatch.setenv(name, value)
    assert Settings() == given
    assert json.loads(job_variables(given)["TIDEMARK_STORAGE_OPTIONS"]) == {"region": "eu-central-1"}


@pytest.mark.parametrize("master", ["local[2]", "local[*]", "local", "spark://a:7077,b:7077", "yarn"])
def test_masters(master: str) -> None:
    assert Settings(spark_master=master).spark_master == master


@pytest.mark.parametrize("master", ["yarn; rm -rf x", "local[2", "http://spark:7077", "spark://"])
def test_what_is_no_master_is_refused_by_name(master: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_SPARK_MASTER", master)
    get_settings.cache_clear()
    try:
        with pytest.raises(SettingsError, match=r"TIDEMARK_SPARK_MASTER: .*not a master"):
            get_settings()
    finally:
        get_settings.cache_clear()


@pytest.mark.parametrize(
    ("cores", "master", "quick"), [(4, "local[2]", True), (5, "local[2]", False), (2, "yarn", False)]
)
def test_drivers_on_few_cores_go_without_the_optimising_compiler_unless_the_settings_say_otherwise(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, cores: int, master: str, quick: bool, bundle: Path
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    own = changed(settings, spark_conf={JAVA_OPTIONS: "-XX:TieredStopAtLevel=4"}, spark_bundle=str(bundle))
    options = spark_conf(own, master)[JAVA_OPTIONS].split()
    assert ("-XX:TieredStopAtLevel=1" in options) is quick
    assert options[-1] == "-XX:TieredStopAtLevel=4", "Java takes the last one"


def test_drivers_of_this_machine_are_told_of_the_archive_of_classes_if_there_is_one(
    settings: Settings, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    own = changed(settings, spark_conf={JAVA_OPTIONS: "-Xss4m"}, spark_bundle=str(bundle))
    assert spark_conf(own)[JAVA_OPTIONS] == "-Xss4m"
    archive = settings.jars_dir / class_archive_name(4)[0]
    archive.write_bytes(b"cut")
    assert spark_conf(own)[JAVA_OPTIONS] == "-Xss4m", "a JVM would die of it"
    archive.write_bytes(b"cds\n")
    given = spark_conf(own)[JAVA_OPTIONS]
    assert given.startswith(f'"-XX:SharedArchiveFile={archive}" ')
    assert given.endswith(" -Xss4m"), "what the settings say comes last, and wins"
    assert JAVA_OPTIONS in spark_conf(settings)
    assert spark_conf(own, "yarn", "cluster")[JAVA_OPTIONS] == "-Xss4m", "that driver is on another machine"


def test_another_java_has_another_archive(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = settings.jars_dir / class_archive_name(4)[0]
    archive.write_bytes(b"cds\n")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert class_archive(settings) == archive
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.touch()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert class_archive(settings) is None
    assert JAVA_OPTIONS not in spark_conf(settings)
    own, replaced = class_archive_name(4)
    assert not archive.match(replaced), "each Java keeps its own"
    java.write_text("another version")
    assert class_archive_name(4)[0] != own
    assert Path(own).match(class_archive_name(4)[1])
