"""What Airflow does with AWS: DAGs that run against moto's server and the emulator, and alerts and secrets of AWS."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from s3_server import running_moto

from kinesis_emulator import running_emulator
from tidemark.core.settings import get_settings
from tidemark.pipelines import _load, get_pipeline
from tidemark.pipelines.producers.landing import FileLeftError, folder_of, landed, put_file
from tidemark.pipelines.producers.producer import ensure_stream

DAGS = Path(__file__).resolve().parents[2] / "dags"
DEFINITION = """
from tidemark.definition import Count, KinesisStream, Pipeline, Rollup, Window

shops = Pipeline(
    name="shops", source=KinesisStream("shops", shards=2),
    schema="id STRING, at TIMESTAMP", event_time="at", key=["id"],
    rollups=[Rollup("daily", by=[], window=Window("1 day"), measures={"events": Count()})],
    suite="expectations/shops.json", landing="s3://landing/in/shops/",
)
"""


class Amazon:
    """AWS as far as the tests need it: Kinesis by the emulator, all else by moto."""

    def __init__(self, moto: str, kinesis: str) -> None:
        self.endpoints = {"kinesis": kinesis}
        self.moto = moto

    def client(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]
            region_name="us-east-1",
            endpoint_url=self.endpoints.get(service, self.moto),
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"mode": "standard", "total_max_attempts": 12}),
        )

    def connection(self, **extra: str) -> str:
        """A connection of Airflow, as a variable of the environment has it."""
        given = {"endpoint_url": self.moto, "region_name": "us-east-1", **extra}
        return json.dumps({"conn_type": "aws", "login": "test", "password": "test", "extra": given})


@pytest.fixture(scope="module")
def amazon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amazon]:
    """AWS, Airflow's database, and a pipeline with a landing folder."""
    folder = tmp_path_factory.mktemp("amazon")
    (folder / "pipelines").mkdir()
    (folder / "pipelines/shops.py").write_text(DEFINITION)
    with (
        pytest.MonkeyPatch.context() as shell,
        running_moto(folder) as moto,
        running_emulator(arguments=("--create-milliseconds", "500")) as kinesis,
    ):
        world = Amazon(moto, kinesis)
        shell.setenv("AIRFLOW_CONN_AWS_DEFAULT", world.connection())
        shell.setenv("TIDEMARK_KINESIS_ENDPOINT_URL", kinesis)
        shell.setenv("TIDEMARK_PIPELINES_DIR", str(folder / "pipelines"))
        shell.setenv("TIDEMARK_RETRY_SECONDS", "0.1")
        _read_settings_again()
        from airflow.utils.db import initdb

        initdb()
        yield world
    _read_settings_again()


def _read_settings_again() -> None:
    get_settings.cache_clear()
    _load.cache_clear()


def dag_of(name: str) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS))
    assert bag.import_errors == {}
    return bag.dags[name]


def run(dag: Any, **conf: Any) -> Any:
    """A run of a DAG in this process, from its first task to its end."""
    for task in dag.tasks:
        task.poke_interval = 0.1
    return dag.test(run_conf=conf)


def value(done: Any, task: str) -> Any:
    [instance] = [ti for ti in done.get_task_instances() if ti.task_id == task]
    return instance.xcom_pull(task_ids=task)


def test_a_stream_is_created_then_resharded_from_a_form_and_a_second_run_changes_nothing(amazon: Amazon) -> None:
    dag = dag_of("shops.provision")
    created = run(dag)
    assert created.state == "success"
    fresh = {"status": "ACTIVE", "mode": "PROVISIONED", "shards": 2, "retention_hours": 24}
    assert value(created, "provision") == {"stream": "shops", "before": None, "after": fresh}
    larger = {**fresh, "shards": 4, "retention_hours": 48}
    for before in (fresh, larger):
        done = run(dag, shards=4, retention_hours=48)
        assert value(done, "provision") == {"stream": "shops", "before": before, "after": larger}
    summary = amazon.client("kinesis").describe_stream_summary(StreamName="shops")["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["RetentionPeriodHours"]) == (4, 48)


@pytest.mark.parametrize("wrong", [{"shards": 0}, {"shards": "2; rm"}, {"mode": "SERVERLESS"}, {"retention_hours": 1}])
def test_a_capacity_that_is_none_is_refused(amazon: Amazon, wrong: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        run(dag_of("shops.provision"), **wrong)


def records(kinesis: Any) -> list[bytes]:
    """All records of the stream."""
    found: list[bytes] = []
    for shard in kinesis.list_shards(StreamName="shops")["Shards"]:
        start = {"StreamName": "shops", "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        answer = kinesis.get_records(ShardIterator=kinesis.get_shard_iterator(**start)["ShardIterator"])
        found += [record["Data"] for record in answer["Records"]]
    return sorted(found)


def test_landed_files_are_put_once_and_set_aside_and_a_damaged_one_is_told_of(amazon: Amazon) -> None:
    s3, kinesis = amazon.client("s3"), amazon.client("kinesis")
    dag = dag_of("shops.land")
    ensure_stream(kinesis, get_pipeline("shops"))
    s3.create_bucket(Bucket="landing")
    events = [json.dumps({"id": str(n), "at": "2026-01-01T00:00:00Z"}).encode() for n in range(1_200)]
    for key, body in {
        "in/shops/": b"",
        "in/shops/plain.jsonl": b"\n".join(events[:600]) + b"\n{not json\n",
        "in/shops/day/zipped.jsonl.gz": gzip.compress(b"\n".join(events[600:])),
        "in/shops_elsewhere/other.jsonl": b"none of ours",
    }.items():
        s3.put_object(Bucket="landing", Key=key, Body=body)
    assert value(run(dag), "put") == {"files": 2, "records": 1_201}
    assert records(kinesis) == sorted([*events, b"{not json"])

    def keys() -> list[str]:
        listed = s3.list_objects_v2(Bucket="landing")["Contents"]
        return sorted("/".join(part for part in item["Key"].split("/") if len(part) != 32) for item in listed)

    done = ["in/shops_done/day/zipped.jsonl.gz", "in/shops_done/plain.jsonl"]
    left = ["in/shops/", *done, "in/shops_elsewhere/other.jsonl"]
    assert keys() == left

    s3.put_object(Bucket="landing", Key="in/shops/a_damaged.gz", Body=gzip.compress(b"\n".join(events))[:-9])
    s3.put_object(Bucket="landing", Key="in/shops/b_good", Body=b"[late]")
    assert run(dag).state == "failed"
    assert keys() == sorted([*left, "in/shops_done/b_good", "in/shops_failed/a_damaged.gz"])
    assert b"[late]" in records(kinesis), "one damaged file holds up no other"


def test_a_file_that_s3_does_not_give_stays_and_is_told_of_and_one_of_a_long_key_is_set_aside(
    amazon: Amazon, capsys: pytest.CaptureFixture[str]
) -> None:
    s3, kinesis = amazon.client("s3"), amazon.client("kinesis")
    dag = dag_of("shops.land")
    ensure_stream(kinesis, get_pipeline("shops"))
    s3.create_bucket(Bucket="landing")
    long = f"in/shops/b{'x' * 1_010}"
    s3.put_object(Bucket="landing", Key="in/shops/a_archived", Body=b"[archived]", StorageClass="GLACIER")
    s3.put_object(Bucket="landing", Key=long, Body=b"[long]")
    s3.put_object(Bucket="landing", Key="in/shops/c_last", Body=b"[last]")
    assert run(dag).state == "failed"
    assert {b"[long]", b"[last]"} <= set(records(kinesis))
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket="landing", Prefix="in/shops")["Contents"]]
    assert "in/shops/a_archived" in listed
    assert {key.rpartition("/")[2][-6:] for key in listed if key.startswith("in/shops_done/")} >= {"x" * 6, "c_last"}
    assert not {long, "in/shops/c_last"} & set(listed)
    told = "s3://landing/in/shops/a_archived cannot be read: "
    assert told in capsys.readouterr().out.replace("\\n", "\n")
    s3.delete_object(Bucket="landing", Key="in/shops/a_archived")


def test_a_file_that_may_not_be_removed_is_put_once(amazon: Amazon) -> None:
    s3, kinesis, shops = amazon.client("s3"), amazon.client("kinesis"), get_pipeline("shops")
    ensure_stream(kinesis, shops)
    s3.create_bucket(Bucket="landing")
    s3.put_object(Bucket="landing", Key="in/shops/kept", Body=b"[kept]")

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "none may"}}, "DeleteObject")

    s3.meta.events.register("before-call.s3.DeleteObject", refuse)
    folder = folder_of(shops)
    assert folder is not None
    for _ in range(3):
        [file] = [one for one in landed(s3, folder) if one.key == "in/shops/kept"]
        with pytest.raises(FileLeftError, match=r"in/shops/kept cannot be moved to in/shops_done/.*AccessDenied"):
            put_file(s3, kinesis, shops, folder, file)
    assert records(kinesis).count(b"[kept]") == 1
    amazon.client("s3").delete_object(Bucket="landing", Key="in/shops/kept")


def test_a_failed_file_is_told_of_though_another_one_cannot_be_put_now(
    amazon: Amazon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def put(*args: Any) -> Any:
        if args[-1].key.endswith("b_later"):
            raise ConnectionError("the stream cannot be reached")
        return put_file(*args)

    s3 = amazon.client("s3")
    ensure_stream(amazon.client("kinesis"), get_pipeline("shops"))
    s3.create_bucket(Bucket="landing")
    s3.put_object(Bucket="landing", Key="in/shops/a_damaged", Body=gzip.compress(b"[x]" * 99)[:-9])
    s3.put_object(Bucket="landing", Key="in/shops/b_later", Body=b"[later]")
    monkeypatch.setattr("tidemark.airflow.steps.landings.put_file", put)
    assert run(dag_of("shops.land")).state == "failed"
    said = capsys.readouterr().out
    assert "in/shops/a_damaged cannot be put beyond" in said
    assert "the stream cannot be reached" in said
    s3.delete_object(Bucket="landing", Key="in/shops/b_later")


CONTEXT = {
    "ti": SimpleNamespace(dag_id="shops.watch", task_id="limits", run_id="r", log_url="http://airflow/log"),
    "exception": "refine lags",
}
TOLD = "shops.watch: task limits failed in run r: refine lags. See http://airflow/log"


def test_an_alert_goes_to_a_topic_or_a_queue_that_the_connection_names(
    amazon: Amazon, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidemark.airflow.alerts import Alert

    sqs, sns = amazon.client("sqs"), amazon.client("sns")
    queue, subscribed = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("alerts", "subscribed"))
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    arn = sqs.get_queue_attributes(QueueUrl=subscribed, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    monkeypatch.setenv("AIRFLOW_CONN_TIDEMARK_ALERTS", amazon.connection(sqs_queue_url=queue))
    Alert().notify(CONTEXT)
    monkeypatch.setenv("AIRFLOW_CONN_TIDEMARK_ALERTS", amazon.connection(sns_topic_arn=topic))
    Alert().notify(CONTEXT)
    assert [m["Body"] for m in sqs.receive_message(QueueUrl=queue)["Messages"]] == [TOLD]
    [notification] = sqs.receive_message(QueueUrl=subscribed)["Messages"]
    assert json.loads(notification["Body"])["Message"] == TOLD


def test_an_alert_quotes_an_event_in_one_line_that_gives_no_chat_an_order() -> None:
    from tidemark.airflow.alerts import MAX_CHARACTERS, message

    quoted = 'such as {"id":"<!channel> & <https://x|click> é"}\nALERT'
    told = message({**CONTEXT, "exception": quoted})
    assert told == TOLD.replace(
        "refine lags", r'such as {"id":"&lt;!channel&gt; &amp; &lt;https://x|click&gt; é"}\nALERT'
    )
    assert len(message({**CONTEXT, "exception": "\n" * 10**6})) < MAX_CHARACTERS + 200


def test_an_alert_that_cannot_be_sent_hides_no_failure_and_says_why_without_a_secret(
    amazon: Amazon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tidemark.airflow.alerts import Alert

    for extra in ({"sqs_queue_url": f"{amazon.moto}/123456789012/none"}, {}):
        monkeypatch.setenv("AIRFLOW_CONN_TIDEMARK_ALERTS", amazon.connection(**extra))
        Alert().notify(CONTEXT)
    monkeypatch.setenv("AIRFLOW_CONN_TIDEMARK_ALERTS", '{"conn_type": "http", "host": "http://127.0.0.1:1/secret"}')
    Alert().notify(CONTEXT)
    said = [line for line in capsys.readouterr().out.splitlines() if "[error" in line and "tidemark_alerts" in line]
    assert len(said) == 3
    assert "QueueDoesNotExist" in said[0]
    assert "neither sns_topic_arn nor sqs_queue_url" in said[1]
    assert "ConnectError" in said[2]
    assert not any("secret" in text for text in said)


@pytest.fixture
def own_secrets_backends() -> Iterator[None]:
    """Airflow keeps a secrets backend for as long as the process lives: tests after this one would wait for AWS."""
    from airflow.sdk.configuration import clear_secrets_backends_cache

    yield
    clear_secrets_backends_cache()


@pytest.mark.usefixtures("own_secrets_backends")
def test_connections_may_come_from_secrets_manager(amazon: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    secrets = amazon.client("secretsmanager")
    webhook = {"conn_type": "http", "host": "https://hooks.example.com/services", "password": "last part"}
    for name, secret in {"spark_default": {"conn_type": "spark", "host": "yarn"}, "tidemark_alerts": webhook}.items():
        secrets.create_secret(Name=f"airflow/connections/{name}", SecretString=json.dumps(secret))
    backend = "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend"
    given = {"connections_prefix": "airflow/connections", "region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", backend)
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND_KWARGS", json.dumps(given))
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", amazon.moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", '{"conn_type": "spark", "host": "local[2]"}')
    assert BaseHook.get_connection("spark_default").host == "yarn", "before the environment"
    alerts = BaseHook.get_connection("tidemark_alerts")
    assert (alerts.conn_type, alerts.host, alerts.password) == ("http", webhook["host"], "last part")
    with pytest.raises(AirflowNotFoundException):
        BaseHook.get_connection("elsewhere")


@pytest.mark.parametrize(
    ("state", "told"), [("running", True), ("queued", True), ("failed", False), ("success", False)]
)
def test_a_late_run_is_told_of_unless_it_has_ended_meanwhile(state: str, told: bool) -> None:
    from tidemark.airflow.alerts import late_message

    run = {"dag_id": "shops.reprocess", "dag_run_id": "by_hand", "state": state}
    text = late_message({"dag_run": run, "deadline": {}}, "6:00:00")
    assert (text is not None) == told
    if text is not None:
        assert f"shops.reprocess: run by_hand is still {state}, 6:00:00 after it was queued. See " in text
