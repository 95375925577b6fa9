"""Settings: every part is a dataclass, and each field defines the limits of its values.

The fields describe a layer, a loss, an optimizer, a callback or a distortion. They are the arguments of the
constructor; the repr shows them and a file stores them. Only this module checks them, wherever they are set.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from minidl.advice import advise, refuse_settings
from minidl.errors import ArgumentError, ArgumentTypeError, did_you_mean
from minidl.reprs import brief, call_with_settings, represent
from minidl.typing import Shape

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[Any], Any]:
        """Do nothing: only type checkers use it, and Python has it since 3.11."""
        return lambda kind: kind


Check = Callable[[Any, str], Any]
"""Takes a value and its name for errors; returns the value to store, or raises."""

CLASSES: dict[str, dict[str, type[Configurable]]] = {}
"""All classes: name -> module -> class."""

_ELSEWHERE = {"lr", "learning_rate", "trainable", "requires_grad", "frozen"}
_ELSEWHERE |= {"regularizer", "constraint", "clip_norm", "clip_value"}
"""Names of settings in other libraries, or of settings of other objects. Setting them here would do nothing."""


def setting(
    default: Any = dataclasses.MISSING,
    *,
    kw_only: Any = dataclasses.MISSING,
    check: Check | None = None,
    quiet: bool = False,
    optional: bool = False,
    fixed: bool = False,
    repr: bool = True,  # noqa: A002 - as dataclasses call it
    **limits: Any,
) -> Any:
    """Declare a field of a `Configurable` class, with the limits of its values.

    Parameters
    ----------
    default : optional
        A setting without a default is required.
    kw_only : bool, default True
        False for the one setting that users give by position, as in ``Dense(64)``.
    check : function of (value, place), optional
        Returns the value to store, or raises an error that begins with the place.
    quiet : bool, default False
        Omit the setting from the repr while it has its default. A default of None is always omitted.
    fixed : bool, default False
        Whether the setting cannot change after the layer is set up, because a file with another value could not be
        loaded.
    repr : bool, default True
        Whether the repr shows the setting.
    optional : bool, default False
        Whether None is allowed. It is always allowed if it is the default.
    limits : optional
        Limits of `as_number`, as in ``setting(0.9, low=0, below=1)``: the value must be a number within them.
    """
    if limits:
        check = lambda value, place: as_number(value, place, **limits)  # noqa: E731
    metadata = {"check": check, "quiet": quiet, "optional": optional or default is None, "fixed": fixed}
    return dataclasses.field(default=default, kw_only=kw_only, repr=repr, metadata=metadata)


class _SignatureOfSettings:
    """The arguments of a class that `help` and notebooks show: its settings, collected on request."""

    def __get__(self, instance: object, kind: type[Configurable]) -> inspect.Signature:
        if instance is not None or kind.__init__ is not Configurable.__init__:
            raise AttributeError("__signature__")
        return kind._signature()


@dataclass_transform(kw_only_default=True, field_specifiers=(setting, dataclasses.field))
@dataclasses.dataclass(init=False, eq=False, repr=False)
class Configurable:
    """Base of all classes that are described by their settings. It makes every subclass a dataclass.

    Fields are keyword arguments, except those declared with ``setting(..., kw_only=False)``. A NumPy number becomes a
    Python number: files store no NumPy types, and a NumPy float64 would turn float32 arrays into float64.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls).keys() | cls.__annotations__:
            inherited = getattr(super(cls, cls), name, None)
            if isinstance(inherited, property) and inherited.fset and not isinstance(vars(cls).get(name), property):
                raise ArgumentTypeError(f"{cls.__name__}.{name} hides a property of its base: give it another name")
        inherited = {field.name: field for field in dataclasses.fields(cls)}
        for name, old in inherited.items():
            if name in vars(cls) and not hasattr(vars(cls)[name], "__get__"):  # a new default, not a method or property
                cls.__annotations__.setdefault(name, old.type)
        if cls.__annotations__ or len(cls.__bases__) > 1:  # else the class has the fields of its base
            dataclasses.dataclass(init=False, eq=False, repr=False, kw_only=True)(cls)
        for field in dataclasses.fields(cls):
            if (old := inherited.get(field.name, field)) is not field:
                _keep_limits(field, old)
        cls._settings = {field.name: field for field in dataclasses.fields(cls) if field.init}
        CLASSES.setdefault(cls.__name__, {})[cls.__module__] = cls

    __signature__ = _SignatureOfSettings()
    _settings: ClassVar[dict[str, dataclasses.Field[Any]]] = {}

    def __init__(self, *values: Any, **settings: Any) -> None:
        """Set the fields. All classes share this method: dataclasses would compile one for each class."""
        kind, names = type(self), self._settings
        refuse_settings([name for name in settings if name not in names], kind, names)
        try:
            given = kind._signature().bind(*values, **settings).arguments
        except TypeError as error:
            usage = f"{kind.__name__}{kind._signature()}{advise(str(error), kind, '. ')}"
            raise ArgumentTypeError(f"{kind.__name__}: {error}; it is {usage}") from None
        for field in dataclasses.fields(self):
            first = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            if (value := given.get(field.name, first)) is not dataclasses.MISSING:
                setattr(self, field.name, value)
        self.__post_init__()

    @classmethod
    def _signature(cls) -> inspect.Signature:
        parameters = []
        for field in sorted(cls._settings.values(), key=lambda field: (bool(field.kw_only), field.name == "name")):
            kind = inspect.Parameter.KEYWORD_ONLY if field.kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
            default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
            parameters.append(inspect.Parameter(field.name, kind, default=default))
        return inspect.Signature(parameters)

    def __post_init__(self) -> None:
        """Override this in a subclass for work that needs all fields."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. Check the value of a field, and turn a NumPy number into a Python number."""
        if field := self._settings.get(name):
            if field.metadata.get("fixed") and getattr(self, "input_shape", None) is not None:
                raise ArgumentError(f"{type(self).__name__} is set up, so its {name} cannot change: make a new layer")
            if isinstance(value, np.generic):
                value = value.item()
            if (check := field.metadata.get("check")) and (value is not None or not field.metadata.get("optional")):
                value = check(value, f"{type(self).__name__}: {name}")
        elif name in _ELSEWHERE and not hasattr(type(self), name):
            raise ArgumentError(f"{type(self).__name__} has no {name!r}: {advise(name, type(self))}")
        object.__setattr__(self, name, value)

    as_call = call_with_settings
    __repr__ = represent

    def configuration(self) -> dict[str, Any]:
        """Return the settings that make an object equal to this one."""
        if type(self).__init__ is not Configurable.__init__:
            raise ArgumentTypeError(f"{type(self).__name__} has its own __init__: declare its settings as fields")
        return {name: getattr(self, name) for name in self._settings}

    @classmethod
    def from_configuration(cls, **configuration: Any) -> Self:
        """Make an object from what `configuration` returned."""
        return cls(**configuration)


def _keep_limits(field: Any, old: dataclasses.Field[Any]) -> None:
    """Keep the limits of a field that a subclass declares again, and its place among the arguments."""
    field.init, field.repr = field.init and old.init, field.repr and old.repr
    field.kw_only = field.kw_only and old.kw_only
    new = {key: value for key, value in field.metadata.items() if value}
    field.metadata = {**old.metadata, "quiet": False, **new}


def as_number(
    value: Any,
    name: str,
    low: float = -math.inf,
    below: float = math.inf,
    *,
    above: float = -math.inf,
    most: float = math.inf,
    whole: bool = False,
) -> Any:
    """Return `value` as a float or, if `whole`, an int, within low <= value < below and above < value <= most.

    Raises ArgumentTypeError for other types, such as text or bool, and ArgumentError for numbers outside the limits.
    """
    try:
        number = None if isinstance(value, str | bool | np.bool_) else operator.index(value) if whole else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        kind = "whole number" if whole else "number"
        raise ArgumentTypeError(f"{name} is {value!r}; it must be a {kind}{_limits(low, below, above, most)}")
    if not (low <= number < below and above < number <= most):
        kind = "whole" if whole else "finite"
        raise ArgumentError(f"{name} is {value}; it must be a {kind} number{_limits(low, below, above, most)}")
    return number


def _limits(low: float, below: float, above: float, most: float) -> str:
    if min(below, most) < math.inf:
        start = f"({above:.10g}" if above > -math.inf else f"[{low:.10g}"
        return f", in {start}, {below:.10g})" if below < math.inf else f", in {start}, {most:.10g}]"
    return f", {low:.10g} or more" if low > -math.inf else f", above {above:.10g}" if above > -math.inf else ""


def as_whole_number(value: Any, name: str, low: int = 0) -> int:
    """Return a whole number of at least `low`. Raise the errors of `as_number`."""
    return int(as_number(value, name, low, whole=True))


def as_rate(value: Any, name: str) -> Any:
    """Return a number of at least 0, or a function of the step. Raise the errors of `as_number`."""
    return value if callable(value) else as_number(value, name, 0)


def as_seed(value: Any, name: str) -> int:
    """Return a seed as scikit-learn takes it, a whole number in [0, 2**32). Raise the errors of `as_number`."""
    return int(as_number(value, name, 0, 2**32, whole=True))


def one_of(*choices: str) -> Check:
    """Return a check that accepts only these texts."""

    def check(value: Any, name: str) -> str:
        if value not in choices:
            raise ArgumentError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}")
        return str(value)

    return check


def instance_of(kind: type, wanted: str) -> Check:
    """Return a check that accepts only objects of a class. Errors describe them as `wanted`."""

    def check(value: Any, name: str) -> Any:
        if not isinstance(value, kind):
            raise ArgumentTypeError(f"{name} is {brief(value)}; it must be {wanted}")
        return value

    return check


as_flag, as_text = instance_of(bool, "True or False"), instance_of(str, "text")


def as_shape(shape: int | Iterable[int], name: str = "a shape", rest: int | None = None) -> Shape:
    """Turn 784 or (28, 28, 1) into a tuple of positive ints. A size may also be `rest`: it is inferred later."""
    try:
        sizes = tuple(operator.index(size) for size in (shape if isinstance(shape, Iterable) else (shape,)))
    except TypeError:
        raise ArgumentTypeError(f"{name} must be a whole number or a tuple of these, not {shape!r}") from None
    if any(size < 1 and size != rest for size in sizes):
        raise ArgumentError(f"the sizes of {name} must be 1 or more, not {sizes}")
    return sizes


def by_name(value: Any, base: type[Any], kinds: Mapping[str, type[Any]]) -> Any:
    """Return a part unchanged or, for a name, a new part of that kind with its defaults. Case does not matter.

    Raises ArgumentError for an unknown name, and ArgumentTypeError for a value that is neither a `base` nor text.
    """
    if isinstance(value, base):
        return value
    if not isinstance(value, str):
        raise ArgumentTypeError(f"give an {base.__name__} or a name, such as {next(iter(kinds))!r}, not {brief(value)}")
    if value.lower() not in kinds:
        raise ArgumentError(f"no {base.__name__.lower()} is named {value!r}; {did_you_mean(value, kinds)}")
    return kinds[value.lower()]()


@functools.cache
def snake_case(name: str) -> str:
    """Return the name of a class in snake case: "batch_norm" for "BatchNorm"."""
    return re.sub(r"(?<=[a-zA-Z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z][0-9])", "_", name).lower()
