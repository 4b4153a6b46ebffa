"""What events hold is shown as it is: not taken for markup, and no order to the terminal."""

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from tidemark.cli import main
from tidemark.cli.data import print_rows
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings
from tidemark.core.terminal import one_line, plain_console, print_table, printable
from tidemark.lake.evolution import create_tables
from tidemark.lake.tables import tables_of
from tidemark.pipelines import get_pipeline

HOSTILE = {
    "[/red]": "[/red]",
    "[bold]loud[/bold] [link=x]": "[bold]loud[/bold] [link=x]",
    ":smile:": ":smile:",
    "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
    "a\u2028b\u202eb\x85": r"a\u2028b\u202eb\x85",
    "\x00": r"\x00",
    "é ü \U0001f600": "é ü \U0001f600",
}


@pytest.mark.parametrize(("held", "shown"), HOSTILE.items())
def test_cells_of_tables_show_what_is_held(held: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    from tidemark_spark.driver.job import show

    print_rows([{"key": held, "n": 1_000}], as_json=False)
    show("drift", ["key", "n"], [(held, 1_000)])
    said = capsys.readouterr().out
    assert said.count(shown) == 2
    assert said.count("1,000") == 2
    assert "\x1b" not in said


def test_an_error_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def failing() -> None:
        raise TidemarkError("no such key: [/red] \x1b[2J, in [2026-01-01, 2026-01-02)")

    monkeypatch.setattr(sys.modules["tidemark.cli.app"], "app", failing)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: no such key: [/red] \\x1b[2J, in [2026-01-01, 2026-01-02)\n"


def test_lines_and_tabs_of_a_text_stay() -> None:
    assert printable("a\n\tb") == "a\n\tb"
    others = set(map(chr, range(sys.maxunicode + 1))) - set("\n\t\u3000\u200c\u200d")
    assert all(printable(one).isprintable() for one in others)


def test_one_line_begins_no_other_and_is_no_longer_than_asked() -> None:
    assert one_line("observed\nerror: x\tTIDEMARK\r") == r"observed\nerror: x\tTIDEMARK\r"
    assert one_line("a" * 10, 10) == "a" * 10
    assert one_line("a" * 11, 10) == "a" * 9 + "…"
    assert len(one_line("\U000e0001" * 50, 100)) == 100
    assert one_line("\\n") == "\\n"


def test_a_job_that_is_refused_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from tidemark_spark.driver.job import _end

    with pytest.raises(SystemExit):
        _end(65, "it breaks id: observed a\nerror: all is well\nRESULT {}")
    assert capsys.readouterr().err == "error: it breaks id: observed a\\nerror: all is well\\nRESULT {}\n"


WIDE = [(f"value of column {n}", f"a_name_{n}") for n in range(8)]


def _printed(width: int) -> list[str]:
    written = StringIO()
    console = plain_console(file=written, force_terminal=True, width=width)
    print_table([name for _, name in WIDE], [[value for value, _ in WIDE]] * 2, "title", console)
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue()).splitlines()]


def test_a_table_that_a_terminal_does_not_hold_is_shown_row_by_row() -> None:
    narrow = _printed(80)
    assert narrow[0] == "title"
    assert [line for line in narrow if " of 2" in line] == ["1 of 2", "2 of 2"]
    assert all(sum(name in line and value in line for line in narrow) == 2 for value, name in WIDE)
    assert any(all(value in line for value, _ in WIDE) for line in _printed(200))


def test_what_is_no_terminal_gets_a_table_as_wide_as_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_rows([{name: value for value, name in WIDE}], as_json=False)
    assert any(all(value in line for value, _ in WIDE) for line in capsys.readouterr().out.splitlines())
    monkeypatch.setenv("COLUMNS", "80")
    print_rows([{name: value for value, name in WIDE}], as_json=False)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_the_tables_of_a_pipeline_fit_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIDEMARK_LAKE_URI", str(tmp_path / "lake"))
    monkeypatch.setenv("TIDEMARK_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    flights = get_pipeline("flights")
    create_tables(tables_of(flights, Settings()), Settings())
    monkeypatch.setattr(sys, "argv", ["tidemark", "status", "flights"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert max(map(len, said.splitlines())) <= 80
    [line] = [line for line in said.splitlines() if "speed_departures_sliding" in line]
    assert line.rstrip(" │").endswith(" ago")


def test_who_ends_produce_hears_what_was_put(tmp_path: Path, kinesis_emulator_endpoint: str) -> None:
    variables = {"PATH": "/usr/bin:/bin", "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    producing = subprocess.Popen(
        [str(Path(sys.executable).with_name("tidemark")), "produce", "clickstream", "--rate", "20"],
        env={**variables, "TIDEMARK_KINESIS_ENDPOINT_URL": kinesis_emulator_endpoint, "TIDEMARK_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert producing.stderr is not None
    first = producing.stderr.readline()
    producing.terminate()
    out, err = producing.communicate()
    assert re.fullmatch(r"clickstream: [\d,]+ records put\n", first)
    assert "interrupted" in err
    assert re.fullmatch(r"[\d,]+ records, [\d,]+ bytes, 0 put again\n", out)
    assert producing.returncode == 130
