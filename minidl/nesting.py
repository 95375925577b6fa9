"""What lets layers be nested deeper than Python can call: copies from the inside out."""

from typing import Any


class CopiedInnermostFirst:
    """Base of layers, of which copying and pickling meet the innermost first.

    From the outside in, they would call themselves several times for each level.
    """

    def walk(self) -> list[Any]:
        """Return this layer and every layer inside it."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {"_innermost_first": self.walk()[:0:-1], **vars(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        vars(self).pop("_innermost_first", None)
