"""Starting on a port and a data folder: what survives, and what is refused with a remedy."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from emulator_calls import HandClock, call, client_of, data, kinesis_of, put, put_all, read, read_all

from kinesis_emulator import running_emulator, start_emulator
from kinesis_emulator.state.journal import DataFolderError, Journal


def test_acknowledged_records_survive_a_kill_with_a_torn_last_line(tmp_path: Path) -> None:
    process, endpoint = start_emulator(data_dir=tmp_path, arguments=("--create-milliseconds", "0"))
    kinesis = client_of(endpoint)
    kinesis.create_stream(StreamName="s", ShardCount=1)
    sequences = put_all(kinesis, "s", b"1", b"2")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"op": "put", "str')
    with running_emulator(data_dir=tmp_path) as endpoint:
        kinesis = client_of(endpoint)
        assert data(read_all(kinesis, "s")) == [b"1", b"2"]
        assert int(put_all(kinesis, "s", b"3")[0]) > int(sequences[-1])
    with running_emulator(data_dir=tmp_path) as endpoint:
        assert data(read_all(client_of(endpoint), "s")) == [b"1", b"2", b"3"]


def test_a_folder_belongs_to_one_emulator_at_a_time_and_is_free_after_a_kill(tmp_path: Path) -> None:
    process, _ = start_emulator(data_dir=tmp_path)
    try:
        with pytest.raises(RuntimeError, match=r"in use by another emulator; end that one, or choose .* --data-dir"):
            start_emulator(data_dir=tmp_path)
    finally:
        process.kill()
        process.wait()
    with running_emulator(data_dir=tmp_path) as endpoint:
        assert client_of(endpoint).list_streams()["StreamNames"] == []


def test_a_closed_journal_lets_go_of_its_folder(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    with pytest.raises(DataFolderError, match="in use"):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path).close()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match=r"^error: data folder .*/file cannot be used .* choose a writable folder"):
        start_emulator(data_dir=tmp_path / "file")


def test_a_damaged_line_in_the_middle_is_named_and_nothing_is_thrown_away(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b'{"op":"create","stream":"s","shards":1,"ms":0}\nnonsense\n{"op":"delete","stream":"s"}\n')
    before = journal.read_bytes()
    with pytest.raises(RuntimeError, match=r"line 2 of .*journal.jsonl is damaged .* delete it from that line on"):
        start_emulator(data_dir=tmp_path)
    assert journal.read_bytes() == before


def test_a_write_that_the_disk_refuses_leaves_nothing_to_read(
    clock: HandClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis = kinesis_of(clock, data_dir=tmp_path)
    call(kinesis, "CreateStream", StreamName="s", ShardCount=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", full)
        with pytest.raises(OSError, match="No space"):
            put(kinesis, "lost")
    put(kinesis, "kept")
    assert read(kinesis) == ["kept"]


def test_a_taken_port_is_said_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=rf"^error: 127.0.0.1:{port} cannot be bound .* choose --port"):
            start_emulator(port)


@pytest.mark.parametrize(
    ("port", "arguments", "message"),
    [
        (70000, (), r"^error: port 70000 does not exist; choose --port from 0"),
        (0, ("--host", "192.0.2.1"), r"^error: 192.0.2.1:0 cannot be bound"),
        (0, ("--shards-per-page", "0"), "--shards-per-page"),
        (0, ("--clock-offset-seconds", "1e300"), "--clock-offset-seconds"),
        (0, ("--clock-offset-seconds", "nan"), "--clock-offset-seconds"),
        (0, ("--heartbeat-seconds", "-1"), "--heartbeat-seconds"),
        (0, ("--iterator-seconds", "nan"), "--iterator-seconds"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(port: int, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=message) as caught:
        start_emulator(port, arguments=arguments)
    assert "Traceback" not in str(caught.value)


def test_help_shows_each_option_whole_in_80_columns() -> None:
    command = [sys.executable, "-m", "kinesis_emulator", "--help"]
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert not re.search(r"--(tls|limits) +<bool>", shown), "they take no value"
    readme = (Path(__file__).parents[3] / "packages/kinesis-emulator/README.md").read_text()
    table = [line.split("|")[1] for line in readme.splitlines() if line.startswith("| `--")]
    documented = {option for cell in table for option in re.findall(r"--[a-z-]+", cell)}
    assert {option for line in shown.splitlines() for option in re.findall(r"^│ (--[a-z-]+)", line)} == {
        *documented,
        "--help",
    }
