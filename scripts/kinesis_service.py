"""Write the emulator's table of the Kinesis API, include/kinesis_emulator/service/model.json, from botocore's model.

``.venv/bin/python scripts/kinesis_service.py`` after botocore was updated; a test says when it is due.
"""

import json
from pathlib import Path
from typing import Any

from botocore.loaders import Loader

TARGET = Path(__file__).parent.parent / "include/kinesis_emulator/service/model.json"
_KEPT = ("type", "required", "min", "max", "pattern", "enum")


def table() -> dict[str, Any]:
    """The operations with the shapes of their requests; no documentation, no shapes of answers."""
    model = Loader().load_service_model("kinesis", "service-2")
    operations = {name: one["input"]["shape"] for name, one in sorted(model["operations"].items())}
    shapes: dict[str, Any] = {}
    due = list(operations.values())
    while due:
        name = due.pop()
        if name in shapes:
            continue
        shape = model["shapes"][name]
        kept = {key: shape[key] for key in _KEPT if key in shape}
        for key in ("member", "key", "value"):
            if key in shape:
                kept[key] = shape[key]["shape"]
        if "members" in shape:
            kept["members"] = {member: one["shape"] for member, one in shape["members"].items()}
        due += [kept[key] for key in ("member", "key", "value") if key in kept]
        due += kept.get("members", {}).values()
        shapes[name] = kept
    return {"operations": operations, "shapes": dict(sorted(shapes.items()))}


def main() -> None:
    """Write one line an operation and one a shape, so that a change is seen in a diff."""
    parts = []
    for name, entries in table().items():
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items())
        parts.append(f" {json.dumps(name)}: {{\n{lines}\n }}")
    TARGET.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
