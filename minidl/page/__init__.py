"""A page for the browser: one HTML file in which a trained network classifies drawings, without a server."""

from minidl.page.document import export

__all__ = ["export"]


def __dir__() -> list[str]:
    return sorted(__all__)
