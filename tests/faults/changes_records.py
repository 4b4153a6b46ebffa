"""Records of a schedule of definitions: most are right, many are nearly so, and their keys come again.

What a record says is not told: the checker reads its bytes by parsers of its own (``changes_parser``).
"""

import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta

from changes_definition import DAYS, KINDS
from hostile_texts import SPOILED, time_text

_IDS = ["s{}", "é{}", "e\u0301{}", " s{}", "s{} ", "\U0001f600{}", "\x00{}", "s/{}", '"{}"', "{}"]
"""Keys that look alike, or that some encoding could change."""
_MICROS = [0, 1, 500, 999, 1000, 999_999]
_MONEY = [
    "0",
    "-0",
    "0.0",
    "1.5",
    "12.3456",
    "12.34565",
    "999999.9999",
    "1e2",
    "15E-1",
    "1e400",
    "1e-400",
    "1e-2000000000",
]
_UNITS = ["0", "7", "-3", "9223372036854775807", "9223372036854775808", "1.0", "1e3", "-0"]
_WRONG = ["true", "{}", "[1, 2.50]", '""', '"NaN"', '"many"', "null", '{"a": {"b": []}}']
_ZONES = ["Z", "+05:30", "-08:00", "", " UTC"]


class Records:
    """Draws records from a seed."""

    def __init__(self, seed: int, holds: str) -> None:
        self._rng = random.Random(f"{seed} records")
        self.holds = holds
        self._sent: list[dict[str, str]] = []
        self._serial = 0

    def draw(self, count: int) -> list[bytes]:
        """So many records."""
        return [self._record() for _ in range(count)]

    def _record(self) -> bytes:
        if self.holds == "object":
            return self._spoiled(self._event().encode())
        events = [self._event() for _ in range(self._rng.choice([0, 1, 1, 2, 3, 5]))]
        events = [self._spoiled(event.encode()).decode(errors="replace") for event in events]
        if self.holds == "lines":
            return self._rng.choice(["\n", "\r\n", "\n\n", " \n"]).join(e.replace("\n", " ") for e in events).encode()
        return self._spoiled(f"[{', '.join(events)}]".encode())

    def _event(self) -> str:
        rng = self._rng
        if self._sent and rng.random() < 0.25:
            members = dict(rng.choice(self._sent))
            if rng.random() < 0.5:  # a copy that says something else
                name = rng.choice(["kind", "at", "sent", "money", "units"])
                members[name] = self._new()[name]
        else:
            members = self._new()
            self._sent.append(members)
        if rng.random() < 0.15:
            name = rng.choice(list(members))
            members[name] = self._hostile(name)
        if rng.random() < 0.1:
            members.pop(rng.choice(list(members)), None)
        items = list(members.items())
        rng.shuffle(items)
        blank: Callable[[], str] = lambda: rng.choice(["", "", " ", "\t"])  # noqa: E731
        return "{" + ",".join(f'{blank()}"{name}"{blank()}:{blank()}{token}{blank()}' for name, token in items) + "}"

    def _new(self) -> dict[str, str]:
        rng = self._rng
        self._serial += 1
        money = str(rng.randrange(-200_000, 20_000_000) / 10_000)
        return {
            "id": json.dumps(rng.choice(_IDS).format(self._serial // 2), ensure_ascii=rng.random() < 0.5),
            "kind": json.dumps(rng.choice(KINDS)),
            "at": self._time(),
            "sent": self._time(),
            "money": rng.choice([money, json.dumps(money), json.dumps(money), "null"]),
            "units": rng.choice([str(rng.randrange(1000)), json.dumps(str(rng.randrange(1000)))]),
            "until": json.dumps(str(rng.choice(DAYS))),
            "note": json.dumps("".join(rng.choice("ab\n\u2028{}") for _ in range(5))),
        }

    def _time(self) -> str:
        """A time of the days, often within hours of a midnight, in any zone."""
        rng = self._rng
        day = datetime.combine(rng.choice(DAYS), datetime.min.time())
        hours = rng.choice([0, rng.uniform(-6, 6), rng.uniform(0, 24)])
        at = day + timedelta(microseconds=int(hours * 3_600_000_000) // 1000 * 1000 + rng.choice(_MICROS))
        return json.dumps(at.isoformat(sep=rng.choice("T ")) + rng.choice(_ZONES))

    def _hostile(self, name: str) -> str:
        rng = self._rng
        if name in ("at", "sent", "until"):
            return json.dumps(time_text(rng)) if rng.random() < 0.8 else rng.choice(_WRONG)
        if name == "money":
            text = rng.choice(_MONEY)
            return rng.choice([text, json.dumps(text), json.dumps(f" {text} "), rng.choice(_WRONG)])
        if name == "units":
            text = rng.choice(_UNITS)
            return rng.choice([text, json.dumps(text), rng.choice(_WRONG)])
        if name == "note":
            return rng.choice([json.dumps("y" * 200_000), rng.choice(_WRONG), "1.50"])
        return "null" if name == "id" else rng.choice(["null", '"theft"', '""'])

    def _spoiled(self, data: bytes) -> bytes:
        if self._rng.random() < 0.88:
            return data
        return self._rng.choice([*SPOILED, lambda _: b"null"])(data)
