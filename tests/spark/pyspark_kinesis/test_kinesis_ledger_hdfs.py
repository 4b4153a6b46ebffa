"""The ledger on HDFS: a real NameNode and DataNode over WebHDFS, and a query in Spark that keeps its ledger there."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mini_hdfs import NoHdfsError, ensure_minicluster, running_hdfs
from store_contract import check_files, check_ledger, check_race

from pyspark_kinesis.errors import AccessError, LedgerError
from pyspark_kinesis.offsets.stores.store import open_store
from tidemark.core.settings import get_settings


@pytest.fixture(scope="module")
def hdfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of WebHDFS."""
    try:
        jar = ensure_minicluster(get_settings().home / "test-jars")
    except NoHdfsError as missing:
        pytest.skip(str(missing))
    with running_hdfs(jar, tmp_path_factory.mktemp("hdfs")) as address:
        yield address


@pytest.mark.parametrize("check", [check_files, check_race, check_ledger])
def test_hdfs_is_a_store(check: Callable[[Any], None], hdfs: str) -> None:
    check(open_store(f"webhdfs://{hdfs}/{check.__name__}/a b"))


def test_hdfs_uris_work_with_the_address_of_the_namenode(hdfs: str) -> None:
    # The first of two NameNodes is down.
    store = open_store("hdfs://nameservice/by-name", endpoint_url=f"http://127.0.0.1:1,http://{hdfs}")
    assert store.put_if_absent("a", b"{}")
    assert open_store(f"webhdfs://{hdfs}/by-name").get("a") == b"{}"


def test_a_user_without_the_right_is_an_error(hdfs: str) -> None:
    with pytest.raises(AccessError, match="give the user 'nobody' the folder"):
        open_store(f"webhdfs://nobody@{hdfs}/ledger-of-nobody").put_if_absent("a", b"")


def test_a_file_in_the_place_of_a_folder_is_an_error(hdfs: str) -> None:
    store = open_store(f"webhdfs://{hdfs}/misplaced")
    assert store.put_if_absent("file", b"")
    with pytest.raises(LedgerError, match="check ledgerLocation"):
        store.put_if_absent("file/a", b"")


def test_a_query_keeps_its_ledger_on_hdfs(stream: Any, reading: Callable[..., Any], sink: Any, hdfs: str) -> None:
    query_of = reading(ledgerLocation=f"webhdfs://{hdfs}/state/ledger", maxRecordsPerTrigger=40)
    for _ in range(2):
        stream.put(60)
        query = query_of.start(sink, availableNow=True)
        query.awaitTermination()
    sink.assert_each_once_in_order(stream)
