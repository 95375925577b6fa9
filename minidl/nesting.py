"""Copies from the inside out, so that layers can be nested deeper than Python can call functions."""

from typing import Any


class CopiedInnermostFirst:
    """Base of layers. Copying and pickling start with the innermost layer.

    If they started from the outside, they would call themselves several times for each level.
    """

    def walk(self) -> list[Any]:
        """Return this layer and every layer inside it."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {"_innermost_first": self.walk()[:0:-1], **vars(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        vars(self).pop("_innermost_first", None)
