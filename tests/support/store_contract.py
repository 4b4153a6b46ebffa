"""What every store of a ledger must do, checked on a real one."""

import threading
from concurrent.futures import ThreadPoolExecutor

from pyspark_kinesis.offsets.ledger import Entry, Ledger
from pyspark_kinesis.offsets.stores.store import Store

WRITERS = 32


def entry(end: str = "1") -> Entry:
    return Entry(start="0", end=end, records=1, last=end, calls=[1.5, 2.25])


def check_files(store: Store) -> None:
    """Files are written once, listed without drafts, and removed alone or by the folder."""
    assert store.get("run/1/a.json") is None
    assert store.list("run") == []
    assert store.put_if_absent("run/1/a.json", b"first")
    assert not store.put_if_absent("run/1/a.json", b"second")
    assert store.get("run/1/a.json") == b"first"
    for name in ("run/1/b é+&<%20.json", "run/10/c.json", "other.json"):
        assert store.put_if_absent(name, name.encode())
        assert store.get(name) == name.encode()
    assert store.list("run") == ["1", "10"]
    assert {"run", "other.json"} <= set(store.list(""))
    assert store.list("run/1") == ["a.json", "b é+&<%20.json"]
    store.delete_folder("run/1")
    assert store.list("run") == ["10"], "a folder is not the prefix of another one's name"
    store.delete("other.json")
    assert store.get("other.json") is None
    for _ in range(2):
        store.delete("other.json")
        store.delete_folder("run")
    assert store.list("run") == []


def check_race(store: Store) -> None:
    """Of many writers of one file one wins, and all read what it wrote: whole, and the same ever after."""
    ledger, start = Ledger(store), threading.Barrier(WRITERS)

    def write(number: int) -> tuple[bool, Entry]:
        own = entry(str(number))
        start.wait()
        recorded = ledger.record("race", 1, "shard", own)
        return recorded == own, recorded

    with ThreadPoolExecutor(WRITERS) as pool:
        answers = list(pool.map(write, range(WRITERS)))
    assert sum(won for won, _ in answers) == 1
    assert {recorded.end for _, recorded in answers} == {answers[0][1].end}
    assert ledger.entry("race", 1, "shard") == answers[0][1]
    assert store.list("race/000000000001") == ["shard.json"]
    store.delete_folder("race")


def check_ledger(store: Store) -> None:
    """Entries come back as they were; what a committed batch makes useless goes, and nothing else does."""
    ledger = Ledger(store)
    shards = [f"shard-{number}" for number in range(20)]
    assert ledger.pin_start(5.25) == Ledger(store).pin_start(6.0) == 5.25
    for batch in (1, 2, 3):
        for shard in shards:
            assert ledger.record("run", batch, shard, entry(shard)) == entry(shard)
    assert ledger.entries("run", 3, [*shards, "none"]) == {shard: entry(shard) for shard in shards}
    ledger.forget_before("run", 2)
    ledger.forget_before("run", 3)
    assert store.list("run") == ["000000000003"]
    assert store.list("run/000000000003") == sorted(f"{shard}.json" for shard in shards)
    assert store.get("start.json") is None
    # As after a restart: what another process left behind goes as well.
    ledger.record("run", 1, "shard", entry())
    Ledger(store).forget_before("run", 4)
    assert store.list("run") == []
