"""Records at the edges of what JSON allows, from a seed: values of every type, and texts that are nearly right."""

import json
import random
from collections.abc import Callable, Iterator

SCHEMA = (
    "id STRING, at TIMESTAMP, big BIGINT, int INT, small SMALLINT, money DECIMAL(28,10), precise DECIMAL(38,0), "
    "double DOUBLE, float FLOAT, yes BOOLEAN, day DATE, until TIMESTAMP, raw BINARY, note STRING"
)
_YEARS = [
    "0000",
    "0001",
    "0999",
    "1000",
    "1582",
    "1969",
    "1970",
    "2026",
    "9999",
    "10000",
    "-0001",
    "+2026",
    "26",
    "290000",
]
_TIMES = [
    "12:34:56",
    "T12:34",
    "23:59:60",
    "now",
    "today",
    "epoch",
    "2026",
    "2026-01",
    "1700000000",
    "20260101T000000Z",
    "",
]
_ZONES = [
    "",
    "Z",
    "z",
    " UTC",
    "GMT",
    "+05:30",
    "-0500",
    "+14:00",
    "-18:00",
    "+18:30",
    "+1",
    " Europe/Berlin",
    " PST",
    "Zx",
]
_EXPONENTS = ["", "e0", "E+3", "e-12", "e400", "e-400", "e2000000000", "e-30000000"]
_LITERALS = [
    "true",
    "false",
    "null",
    "{}",
    "[]",
    '[1.50, {"a": 1}]',
    '{"$date": "2026-01-01"}',
    '""',
    '" "',
    '"NaN"',
    '"null"',
]


def record_texts(seed: int, count: int) -> Iterator[bytes]:
    """Records; of ten, about six are JSON objects of one event, however odd its values."""
    rng = random.Random(f"{seed} texts")
    for number in range(count):
        data = _object(rng, number)
        yield rng.choice(SPOILED)(data) if rng.random() < 0.4 else data


def time_text(rng: random.Random) -> str:
    """A text that is a date, a time, or nearly one."""
    if rng.random() < 0.15:
        return rng.choice(_TIMES)
    day = f"{rng.choice(_YEARS)}-{rng.randrange(14):02}-{rng.randrange(33):02}"
    if rng.random() < 0.2:
        return rng.choice(["", " "]) + day + rng.choice(["", " ", "\n", "Z", "T"])
    clock = f"{rng.randrange(25):02}:{rng.randrange(61):02}"
    clock += rng.choice(["", ":00", f":{rng.randrange(61):02}.{rng.randrange(10**9):09}", ":5", ":00.", ":00,5"])
    return day + rng.choice("TT t") + clock + rng.choice(_ZONES)


def _number(rng: random.Random) -> str:
    digits = str(rng.choice([0, 1, 7, 2**15, 2**31 - 1, 2**31, 2**63 - 1, 2**63, rng.randrange(10**30), 10**38]))
    fraction = rng.choice(["", "", ".0", ".5", f".{rng.randrange(10**20)}", "." + "3" * 2000])
    return rng.choice(["", "-"]) + digits + fraction + rng.choice(_EXPONENTS if rng.random() < 0.3 else [""])


def _text(rng: random.Random) -> str:
    return json.dumps("".join(rng.choice('ab"\\/\n\x00é\U0001f600 \u2028{}[]:,') for _ in range(rng.randrange(6))))


def _value(rng: random.Random, column: str) -> str:
    draw = rng.random()
    if column in ("at", "until", "day") and draw < 0.9:
        return json.dumps(time_text(rng))
    if draw < 0.5:
        number = _number(rng)
        return number if rng.random() < 0.6 else json.dumps(number)
    return rng.choice(_LITERALS) if draw < 0.8 else _text(rng)


def _object(rng: random.Random, number: int) -> bytes:
    columns = [part.split()[0] for part in SCHEMA.split(", ")]
    members = {"id": json.dumps(f"r{number}"), "at": '"2026-01-01T00:00:00Z"'}
    members |= {column: _value(rng, column) for column in rng.sample(columns[1:], 3)}
    items = list(members.items())
    rng.shuffle(items)
    blank = lambda: rng.choice(["", "", " ", "\n", "\t\r"])  # noqa: E731
    return ("{" + ",".join(f'{blank()}"{n}"{blank()}:{blank()}{v}{blank()}' for n, v in items) + "}").encode()


SPOILED: list[Callable[[bytes], bytes]] = [
    lambda data: data + data,
    lambda data: data + b"\n" + data,
    lambda data: data + b" oops",
    lambda data: data[:-1],
    lambda data: b"[" + data + b"]",
    lambda data: b"\xef\xbb\xbf" + data,
    lambda data: b"\xff" + data,
    lambda data: data[:-1] + b',"id":"again"}',
    lambda data: data[:-1] + b',"x":NaN}',
    lambda data: data[:-1] + b',"x":"\\ud800"}',
    lambda data: data[:-1] + b',"x":' + b"[" * 600 + b"]" * 600 + b"}",
    lambda data: data[:-1] + b',"x":"' + b"y" * 100_000 + b'"}',
    lambda data: data.replace(b'"', b"'"),
    lambda _: b"",
]
"""What makes a record of an event, as bytes, one that is none, or hardly one."""
