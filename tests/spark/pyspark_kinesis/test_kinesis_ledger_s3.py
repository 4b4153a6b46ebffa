"""The ledger on S3: a real server over HTTP, and a query in Spark that keeps its ledger there."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from s3_server import new_bucket, running_s3
from store_contract import check_files, check_ledger, check_race

from pyspark_kinesis.errors import AccessError, LedgerError
from pyspark_kinesis.offsets.stores.s3 import S3Store
from pyspark_kinesis.offsets.stores.store import open_store


@pytest.fixture(scope="module")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with running_s3(tmp_path_factory.mktemp("s3")) as url:
            new_bucket(url)
            yield url
    except LookupError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def bucket(s3_url: str) -> str:
    return new_bucket(s3_url)


@pytest.mark.parametrize("check", [check_files, check_race, check_ledger])
@pytest.mark.parametrize("prefix", ["", "/a/b c+é"])
def test_s3_is_a_store(check: Callable[[Any], None], prefix: str, bucket: str, s3_url: str) -> None:
    check(open_store(f"s3a://{bucket}{prefix}", endpoint_url=s3_url))


def test_more_files_than_one_page_lists(bucket: str, s3_url: str) -> None:
    class SmallPages(S3Store):
        def _pages(self, **parameters: str) -> Any:
            return super()._pages(**parameters, **{"max-keys": "3"})

    store = SmallPages(bucket, "p", region="us-east-1", endpoint_url=s3_url)
    names = [f"{number:02d}.json" for number in range(10)]
    for name in names:
        assert store.put_if_absent(f"run/{name}", b"{}")
    assert store.list("run") == names
    store.delete_folder("run")
    assert store.list("run") == []


def test_the_standard_environment_names_the_server(bucket: str, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
    assert open_store(f"s3://{bucket}/by-environment").put_if_absent("a", b"{}")
    assert open_store(f"s3://{bucket}/by-environment", endpoint_url=s3_url).get("a") == b"{}"


def test_a_bucket_that_is_not_there_is_an_error(s3_url: str) -> None:
    store = open_store("s3://no-such-bucket/ledger", endpoint_url=s3_url)
    for action in (lambda: store.put_if_absent("a", b""), lambda: store.get("a"), lambda: store.list("a")):
        with pytest.raises(LedgerError, match=r"NoSuchBucket.* create the bucket"):
            action()


@pytest.mark.skipif(shutil.which("versitygw") is None, reason="moto does not check signatures, versitygw does")
def test_wrong_credentials_are_an_error(bucket: str, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = S3Store(bucket, "p", region="us-east-1", endpoint_url=s3_url)
    with pytest.raises(AccessError, match="check the clock and the credentials"):
        store.put_if_absent("a", b"")


def test_a_query_keeps_its_ledger_on_s3(
    stream: Any, reading: Callable[..., Any], sink: Any, bucket: str, s3_url: str
) -> None:
    location = f"s3://{bucket}/state/ledger"
    query_of = reading(ledgerLocation=location, ledgerEndpointUrl=s3_url, maxRecordsPerTrigger=40)
    for _ in range(2):
        stream.put(100)
        query = query_of.start(sink)
        sink.wait_for(len(stream.values) - 60, query)  # stopped in the middle
        query.stop()
    query = query_of.start(sink, availableNow=True)
    query.awaitTermination()
    sink.assert_each_once_in_order(stream)
    store = open_store(location, endpoint_url=s3_url)
    (run,) = [name for name in store.list("") if not name.endswith(".json")]
    assert len(store.list(run)) <= 2, "committed batches are cleaned up"
