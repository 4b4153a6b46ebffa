"""Where a ledger can live: the disk, what locations mean, and services that fail as told.

Real S3 and HDFS servers are in tests/spark/pyspark_kinesis.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from scripted_http import Answer, scripted_server
from store_contract import check_files, check_ledger, check_race, entry

from pyspark_kinesis.errors import AccessError, EndpointError, LedgerError, OptionError
from pyspark_kinesis.offsets.ledger import Ledger
from pyspark_kinesis.offsets.stores.s3 import S3Store, bucket_url
from pyspark_kinesis.offsets.stores.store import LocalStore, open_store
from pyspark_kinesis.offsets.stores.webhdfs import WebHdfsStore


def refusal(status: int, code: str, region: str = "") -> Answer:
    return status, f"<Error><Code>{code}</Code><Message>m</Message><Region>{region}</Region></Error>".encode()


DONE: Answer = (200, b"")
BROKEN: Answer = (0, b"")
EXISTS = refusal(412, "PreconditionFailed")


def s3(url: str) -> S3Store:
    return S3Store("bucket", "p", region="us-east-1", endpoint_url=url, patience_seconds=1.0)


def webhdfs(*urls: str) -> WebHdfsStore:
    return WebHdfsStore(list(urls), "/ledger", user="u", patience_seconds=1.0)


@pytest.mark.parametrize("check", [check_files, check_race, check_ledger])
def test_a_disk_is_a_store(check: Callable[[Any], None], tmp_path: Path) -> None:
    check(LocalStore(tmp_path / "ledger"))


@pytest.mark.parametrize(
    ("location", "remedy"),
    [
        ("gs://bucket/ledger", "s3://bucket/prefix"),
        ("s3:///ledger", "s3://bucket/prefix"),
        ("s3://bucket/a/../b", "segments of dots"),
        ("s3://bucket/a//b", "leave out"),
        ("s3://bucket/a?b", "leave out"),
        ("hdfs://namenode:8020/ledger", "webhdfs://<NameNode>:9870/ledger"),
        *[(location, "not an absolute path") for location in ("ledger", "./ledger", "~/ledger", "file:ledger")],
        ("file://host/ledger", "not an absolute path"),
        *[(f"{scheme}:/x/y", "has one slash") for scheme in ("s3", "s3a", "hdfs", "webhdfs", "swebhdfs")],
        ("s3:x/y", "has one slash"),
        ("dbfs:/x", "not supported"),
        ("abfss:/x", "not supported"),
    ],
)
def test_a_location_that_cannot_hold_a_ledger_is_refused(location: str, remedy: str) -> None:
    with pytest.raises(OptionError, match=remedy):
        open_store(location)


@pytest.mark.parametrize("location", ["/data/led ger", "file:/data/led%20ger", "file:///data/led%20ger"])
def test_a_folder_is_an_absolute_path(location: str) -> None:
    store = open_store(location)
    assert isinstance(store, LocalStore)
    assert store.root == Path("/data/led ger")


def test_a_store_is_opened_once_a_process() -> None:
    assert open_store("s3://bucket/p", region="eu-west-1") is open_store("s3://bucket/p", region="eu-west-1")
    assert isinstance(open_store("hdfs://nameservice/l", endpoint_url="http://h:9870"), WebHdfsStore)


@pytest.mark.parametrize(
    "failure",
    [
        refusal(503, "SlowDown"),
        refusal(500, "InternalError"),
        refusal(409, "ConditionalRequestConflict"),
        refusal(429, ""),
        (502, b"<html>"),
        BROKEN,
    ],
)
def test_what_may_pass_is_tried_again(failure: Answer) -> None:
    with scripted_server(EXISTS, failure, failure, DONE) as url:
        assert s3(url).put_if_absent("a", b"{}")


def test_a_put_whose_answer_was_lost_is_known_by_reading_it_back() -> None:
    own = entry("7")
    content = orjson.dumps(own)
    with scripted_server(EXISTS, BROKEN, EXISTS, (200, content)) as url:
        assert Ledger(s3(url)).record("run", 1, "shard", own) == own


def test_a_server_that_ignores_if_none_match_is_refused_before_anything_is_lost() -> None:
    seen: list[str] = []
    with scripted_server(DONE, seen=seen) as url, pytest.raises(LedgerError, match="ignores If-None-Match"):
        s3(url).put_if_absent("run/1/a.json", b"{}")
    assert set(seen) == {"PUT /bucket/p/put-if-absent.json"}


def test_the_server_is_tried_out_once() -> None:
    seen: list[str] = []
    with scripted_server(EXISTS, DONE, seen=seen) as url:
        store = s3(url)
        for name in ("a", "b", "c"):
            assert store.put_if_absent(name, b"{}")
    assert seen == [f"PUT /bucket/p/{name}" for name in ("put-if-absent.json", "a", "b", "c")]


@pytest.mark.parametrize(
    ("answer", "error", "remedy"),
    [
        (refusal(404, "NoSuchBucket"), LedgerError, "create the bucket"),
        (refusal(403, "AccessDenied"), AccessError, "s3:ListBucket"),
        (refusal(400, "ExpiredToken"), AccessError, "credentials"),
        (refusal(501, "NotImplemented"), LedgerError, "conditional writes"),
        (refusal(400, "InvalidRequest"), LedgerError, "correct ledgerLocation"),
        (refusal(503, "SlowDown"), EndpointError, "kept failing"),
        ((404, b"<html>no S3 here"), LedgerError, "ledgerEndpointUrl"),
    ],
)
def test_what_s3_refuses_is_said_with_its_remedy(answer: Answer, error: type[Exception], remedy: str) -> None:
    with scripted_server(answer) as url, pytest.raises(error, match=remedy):
        s3(url).get("a")


def test_a_server_that_is_no_s3_server_is_an_error() -> None:
    with scripted_server((200, b"{}")) as url, pytest.raises(LedgerError, match="not S3's XML"):
        s3(url).list("run")


@pytest.mark.parametrize(
    "answer",
    [refusal(400, "AuthorizationHeaderMalformed", "eu-north-1"), (301, b"", {"x-amz-bucket-region": "eu-north-1"})],
)
def test_the_region_of_the_bucket_is_learnt(answer: Answer) -> None:
    with scripted_server(answer, (200, b"{}")) as url:
        assert s3(url).get("a") == b"{}"


def test_a_bucket_is_addressed_as_its_partition_and_its_name_want() -> None:
    assert bucket_url("b", "eu-west-1") == "https://b.s3.eu-west-1.amazonaws.com"
    assert bucket_url("b", "cn-north-1") == "https://b.s3.cn-north-1.amazonaws.com.cn"
    assert bucket_url("b.c", "eu-west-1") == "https://s3.eu-west-1.amazonaws.com/b.c"
    assert bucket_url("b", "eu-west-1", "http://127.0.0.1:7070/") == "http://127.0.0.1:7070/b"


def test_a_ledger_on_s3_without_credentials_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(AccessError, match="no AWS credentials for the ledger"):
        s3("http://127.0.0.1:1").get("a")


def test_files_that_a_batch_deletion_leaves_are_a_warning_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    listed = b"<R><Contents><Key>p/run/000000000001/s.json</Key></Contents></R>"
    folders = b"<R><CommonPrefixes><Prefix>p/run/000000000001/</Prefix></CommonPrefixes></R>"
    kept = b"<R><Error><Code>AccessDenied</Code></Error></R>"
    seen: list[str] = []
    once = [DONE, (200, folders), (200, listed)]
    with scripted_server(*once, (200, kept), *once, (200, b"<R/>"), seen=seen) as url:
        ledger = Ledger(s3(url))
        with caplog.at_level(logging.WARNING):
            ledger.forget_before("run", 2)
        assert "1 files could not be deleted (AccessDenied)" in caplog.text
        ledger.forget_before("run", 2)
        assert len(seen) == 8
        ledger.forget_before("run", 2)
        assert len(seen) == 8, "there is nothing new to remove"


def test_a_namenode_in_standby_hands_over_to_the_next() -> None:
    standby = (403, b'{"RemoteException": {"exception": "StandbyException", "message": "m"}}')
    with scripted_server(standby) as passive, scripted_server((200, b"{}")) as active:
        assert webhdfs(passive, active).get("a") == b"{}"


def test_a_rename_whose_answer_was_lost_is_known_by_reading_it_back() -> None:
    own = entry("7")
    with scripted_server((201, b"")) as datanode:
        sent = (307, b"", {"Location": f"{datanode}/"})
        lost, refused = (0, b'{"bool'), (200, b'{"boolean": false}')
        with scripted_server(sent, lost, refused, refused, (200, orjson.dumps(own))) as namenode:
            assert Ledger(webhdfs(namenode)).record("run", 1, "shard", own) == own


@pytest.mark.parametrize(
    ("exception", "error", "remedy"),
    [
        ("AccessControlException", AccessError, "HADOOP_USER_NAME"),
        ("SafeModeException", EndpointError, "kept failing"),
        ("DSQuotaExceededException", LedgerError, "quota"),
    ],
)
def test_what_hdfs_refuses_is_said_with_its_remedy(exception: str, error: type[Exception], remedy: str) -> None:
    answer = (403, orjson.dumps({"RemoteException": {"exception": exception, "message": "m"}}))
    with scripted_server(answer) as url, pytest.raises(error, match=remedy):
        webhdfs(url).put_if_absent("a", b"")
