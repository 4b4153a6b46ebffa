"""What a log says of why its process ended."""

from pathlib import Path

import pytest

from tidemark.core.processes import first_error


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"])
def test_an_error_is_a_line_whatever_it_quotes(tmp_path: Path, odd: str) -> None:
    log = tmp_path / "log"
    told = f'rows break x, such as {{"a": "p{odd}error: nothing is wrong"}}: fix the suite'
    log.write_text(f"noise that quotes{odd}error: nothing is wrong\nerror: {told}\n")
    assert first_error(log) == told
