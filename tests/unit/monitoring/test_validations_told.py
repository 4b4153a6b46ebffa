"""What a broken expectation says quotes events, and is one short line all the same."""

import orjson

from tidemark.monitoring.check_results import TEXT_CHARACTERS, ExpectationResult, sample_text, shortened

HUGE = "é\n" * 5_000_000
ROW = {"id": HUGE, "n": 7, "raw": b"\xff" * 5_000_000, "nested": [HUGE, {"x": HUGE}], "absent": None}


def test_no_text_of_a_sample_is_longer_than_its_bound_and_the_rest_stays() -> None:
    short = shortened(ROW)
    assert short["n"] == 7
    assert short["absent"] is None
    assert [len(text) for text in (short["id"], short["raw"], short["nested"][0], short["nested"][1]["x"])] == [
        TEXT_CHARACTERS
    ] * 4
    assert all(text.endswith("…") for text in (short["id"], short["raw"]))
    assert shortened({"id": "a" * TEXT_CHARACTERS}) == {"id": "a" * TEXT_CHARACTERS}
    assert orjson.loads(sample_text([short]))[0]["id"] == short["id"], "the table holds JSON still"


def test_what_is_told_of_large_rows_is_one_short_line() -> None:
    told = ExpectationResult(
        "unique(id)", False, "a", 3, "critical", (ROW, HUGE, {"id": "b\nc"}), asks="regex=" + HUGE
    ).summary()
    assert "\n" not in told
    assert len(told) < 5 * TEXT_CHARACTERS
    assert told.startswith("unique(id) (asks regex=é\\n")
    assert told.endswith(r' and {"id":"b\nc"}')
