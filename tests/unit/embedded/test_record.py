"""What is written down of a platform is whole, whoever writes it and whenever it is read."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tidemark.embedded.record import Record


def test_a_record_is_whole_though_several_threads_write_it(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.write([], {"note": "x" * 10_000})
    with ThreadPoolExecutor(4) as pool:
        writers = [
            pool.submit(lambda: [record.write([], {"note": "x" * 10_000}) for _ in range(300)]) for _ in range(4)
        ]
        while not all(writer.done() for writer in writers):
            assert record.facts()["note"] == "x" * 10_000
        for writer in writers:
            writer.result()
