"""Every error that minidl raises on purpose: each names the place and the fix.

Each class also subclasses the builtin that a caller would expect, so ``except ValueError`` works
for those who do not import this module.
"""

import contextlib
from collections.abc import Iterable, Iterator


class MinidlError(Exception):
    """Base of all of minidl's errors."""


class ArgumentError(MinidlError, ValueError):
    """An argument of the right type with a value that cannot work."""


class ArgumentTypeError(MinidlError, TypeError):
    """An argument of a type that cannot work."""


class ShapeError(MinidlError, ValueError):
    """An array whose shape does not fit; names the layer, its position, the expected and the given shape."""


class DataError(MinidlError, ValueError):
    """Data that must not be trained on: empty, of unequal lengths, not finite, labels out of range."""


class FileFormatError(MinidlError, OSError, ValueError):
    """A file that is not what it should be; names the file and the row, byte or entry."""


class MissingFileError(MinidlError, FileNotFoundError):
    """A file or folder that does not exist."""


class DataWarning(UserWarning):
    """Data that can be trained on, and look as if they were not meant so."""


class DivergenceError(MinidlError, ArithmeticError):
    """A training run whose loss is no longer a finite number."""


class NotReadyError(MinidlError, RuntimeError):
    """A call that came too early: before ``build``, or ``backward`` before a training ``forward``."""


class MissingDependencyError(MinidlError, ImportError):
    """An optional library that is not installed; names the extra that brings it."""


@contextlib.contextmanager
def naming(place: object) -> Iterator[None]:
    """Within, every error gets the place before its text, also one that is not minidl's.

    Its class stays where that is made of a text; else it is the nearest base that is. The error itself is the cause.
    """
    try:
        yield
    except Exception as error:
        raise located(error, place) from error


def located(error: Exception, place: object) -> Exception:
    """Return an error with the place before its text, of the same class or its nearest base that is made of a text."""
    # The text of a KeyError is the repr of its key, which would be quoted once more at each place.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    link = " " if text.startswith("expects ") else ", " if text.startswith("layer ") else ": "
    for kind in type(error).__mro__:
        with contextlib.suppress(Exception):  # what a class of one's own asks for, nobody knows
            return kind(f"{place}{link}{text}")
    return error


def counted(number: int, what: str) -> str:
    """Return a number of things as text: "1 row", "1,000 rows"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the known one that it nearly is, if any, then all or many.

    As many as 200 characters hold: a deep model has hundreds of layers.
    Nearly is a slip or two of the keyboard, or a beginning that only one has: what is merely the least different of
    unlike names would lead astray.
    """
    import difflib

    spelt = {each.lower(): each for each in known}
    # At 0.75 "xavier_uniform" is taken for "he_uniform", which it is not; a slip in a word of four letters has 0.86.
    near = difflib.get_close_matches(name.lower(), spelt, n=1, cutoff=0.76)
    near = near or [each for each in spelt if each.startswith(name.lower())]
    names = ", ".join(spelt.values())
    if len(names) > 200:
        names = names[:200].rpartition(", ")[0] + ", ..."
    return (f"did you mean {spelt[near[0]]!r}? " if len(near) == 1 else "") + f"there are {names}"
