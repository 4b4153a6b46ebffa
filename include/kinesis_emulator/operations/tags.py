"""The operations on the tags of streams and consumers."""

from collections.abc import Iterable
from typing import Any

from kinesis_emulator.errors import invalid
from kinesis_emulator.operations.resources import named_resource
from kinesis_emulator.state import Request, State
from kinesis_emulator.state.changes import TagsAdded, TagsRemoved
from kinesis_emulator.state.effects import MAX_TAGS

Answer = dict[str, Any]
_SYMBOLS = set("_.:/=+-@")


class TagOperations:
    """Tags by the older calls, for streams only, and by the newer ones, for streams and consumers."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.operations = {
            "AddTagsToStream": self.add_tags_to_stream,
            "RemoveTagsFromStream": self.remove_tags_from_stream,
            "ListTagsForStream": self.list_tags_for_stream,
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTagsForResource": self.list_tags_for_resource,
        }

    def add_tags_to_stream(self, request: Request) -> Answer:
        """AddTagsToStream."""
        check_characters(request["Tags"])
        stream = self._state.changeable(request, "AddTagsToStream")
        self._state.apply(TagsAdded(stream=stream.name, tags=request["Tags"]))
        return {}

    def remove_tags_from_stream(self, request: Request) -> Answer:
        """RemoveTagsFromStream; a tag that is not there does not matter."""
        stream = self._state.changeable(request, "RemoveTagsFromStream")
        self._state.apply(TagsRemoved(stream=stream.name, keys=request["TagKeys"]))
        return {}

    def list_tags_for_stream(self, request: Request) -> Answer:
        """ListTagsForStream, by key."""
        tags = self._state.stream(request, "ListTagsForStream").tags
        after, limit = request.get("ExclusiveStartTagKey") or "", int(request.get("Limit") or MAX_TAGS)
        listed = [one for one in _listed(tags) if one["Key"] > after]
        return {"Tags": listed[:limit], "HasMoreTags": len(listed) > limit}

    def tag_resource(self, request: Request) -> Answer:
        """TagResource."""
        check_characters(request["Tags"])
        stream, consumer = named_resource(self._state, request, "TagResource", active=True)
        self._state.apply(
            TagsAdded(stream=stream.name, consumer=consumer.name if consumer else None, tags=request["Tags"])
        )
        return {}

    def untag_resource(self, request: Request) -> Answer:
        """UntagResource; a tag that is not there does not matter."""
        stream, consumer = named_resource(self._state, request, "UntagResource", active=True)
        name = consumer.name if consumer else None
        self._state.apply(TagsRemoved(stream=stream.name, consumer=name, keys=request["TagKeys"]))
        return {}

    def list_tags_for_resource(self, request: Request) -> Answer:
        """ListTagsForResource, by key."""
        stream, consumer = named_resource(self._state, request, "ListTagsForResource")
        return {"Tags": _listed((consumer or stream).tags)}


def check_characters(tags: dict[str, str]) -> None:
    """Raises InvalidArgumentException for characters that a tag may not have (API reference, TagResource)."""
    if not all(map(_valid, _texts(tags))):
        raise invalid(
            "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . : / = + "
            "- @."
        )


def _texts(tags: dict[str, str]) -> Iterable[str]:
    return [*tags.keys(), *tags.values()]


def _valid(text: str) -> bool:
    return all(one.isalnum() or one.isspace() or one in _SYMBOLS for one in text)


def _listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
