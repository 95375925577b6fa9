"""Every error that minidl raises on purpose. Each names the place and the fix.

Each class is also a subclass of the builtin error that a caller expects, so ``except ValueError`` works without an
import of this module.
"""

import contextlib
from collections.abc import Iterable, Iterator


class MinidlError(Exception):
    """Base of all of minidl's errors."""


class ArgumentError(MinidlError, ValueError):
    """An argument with the right type but a wrong value."""


class ArgumentTypeError(MinidlError, TypeError):
    """An argument with a wrong type."""


class ShapeError(MinidlError, ValueError):
    """An array whose shape does not fit. It names the layer, its position, the expected and the given shape."""


class DataError(MinidlError, ValueError):
    """Data that cannot be used for training: empty, of unequal lengths, not finite, or with labels out of range."""


class FileFormatError(MinidlError, OSError, ValueError):
    """A file with the wrong format. It names the file and the row, byte or entry."""


class MissingFileError(MinidlError, FileNotFoundError):
    """A file or folder that does not exist."""


class DataWarning(UserWarning):
    """Data that can be used for training but look like a mistake."""


class DivergenceError(MinidlError, ArithmeticError):
    """A training run whose loss is no longer a finite number."""


class NotReadyError(MinidlError, RuntimeError):
    """A call that comes too early: before ``build``, or ``backward`` before a training ``forward``."""


class MissingDependencyError(MinidlError, ImportError):
    """An optional library that is not installed. It names the extra that installs it."""


@contextlib.contextmanager
def naming(place: object) -> Iterator[None]:
    """Put the place before the text of every error in this context, also of errors from other libraries.

    The error keeps its class if that takes one text; else it gets the nearest base class that does. The original error
    is the cause.
    """
    try:
        yield
    except Exception as error:
        raise located(error, place) from error


def located(error: Exception, place: object) -> Exception:
    """Return an error with the place before its text. It has the same class, or the nearest base that takes a text."""
    # The text of a KeyError is the repr of its key, which would get more quotes at each place.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    link = " " if text.startswith("expects ") else ", " if text.startswith("layer ") else ": "
    for kind in type(error).__mro__:
        with contextlib.suppress(Exception):  # a user's class may need any arguments
            return kind(f"{place}{link}{text}")
    return error


def counted(number: int, what: str) -> str:
    """Return a number and a noun as text: "1 row", "1,000 rows"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the most similar known name, if any, then the known names.

    It lists names up to 200 characters, because a deep model has hundreds of layers. A name is similar if it differs by
    one or two typing errors, or if no other name has this beginning. Less similar names would mislead the user.
    """
    import difflib

    spelt = {each.lower(): each for each in known}
    # At 0.75, "xavier_uniform" would match "he_uniform", which is wrong. A typing error in a four-letter word has 0.86.
    near = difflib.get_close_matches(name.lower(), spelt, n=1, cutoff=0.76)
    near = near or [each for each in spelt if each.startswith(name.lower())]
    names = ", ".join(spelt.values())
    if len(names) > 200:
        names = names[:200].rpartition(", ")[0] + ", ..."
    return (f"did you mean {spelt[near[0]]!r}? " if len(near) == 1 else "") + f"there are {names}"
