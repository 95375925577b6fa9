"""Settings: every part is a dataclass, and a field carries the limits of its values.

A layer, a loss, an optimizer, a callback or a distortion is described by its fields. They are the arguments of the
constructor, what the repr shows and what a file stores. They are checked here alone, wherever they are set.
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
        """Do nothing: only type checkers look at it, and Python has it from 3.11 on."""
        return lambda kind: kind


Check = Callable[[Any, str], Any]
"""Takes a value and what errors call it; returns the value to keep, or raises."""

CLASSES: dict[str, dict[str, type[Configurable]]] = {}
"""Every class there is: name -> module -> class."""

_ELSEWHERE = {"lr", "learning_rate", "trainable", "requires_grad", "frozen"}
_ELSEWHERE |= {"regularizer", "constraint", "clip_norm", "clip_value"}
"""What other libraries call settings, or have them on other objects: setting these here would do nothing."""


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
        Without one the setting must be given.
    kw_only : bool, default True
        False for the one setting that everybody gives by position, as in ``Dense(64)``.
    check : function of (value, place), optional
        Returns the value to keep, or raises an error that begins with the place.
    quiet : bool, default False
        Leave the setting out of the repr while it has its default. A None that is the default is always left out.
    fixed : bool, default False
        Whether it stays once a layer is set up: a file with another value could not be loaded.
    repr : bool, default True
        Whether the repr shows it.
    optional : bool, default False
        Whether None is allowed; it always is where it is the default.
    limits : optional
        Those of `as_number`, as in ``setting(0.9, low=0, below=1)``: the value must be such a number.
    """
    if limits:
        check = lambda value, place: as_number(value, place, **limits)  # noqa: E731
    metadata = {"check": check, "quiet": quiet, "optional": optional or default is None, "fixed": fixed}
    return dataclasses.field(default=default, kw_only=kw_only, repr=repr, metadata=metadata)


class _SignatureOfSettings:
    """What `help` and notebooks show as the arguments of a class: its settings, put together when somebody asks."""

    def __get__(self, instance: object, kind: type[Configurable]) -> inspect.Signature:
        if instance is not None or kind.__init__ is not Configurable.__init__:
            raise AttributeError("__signature__")
        return kind._signature()


@dataclass_transform(kw_only_default=True, field_specifiers=(setting, dataclasses.field))
@dataclasses.dataclass(init=False, eq=False, repr=False)
class Configurable:
    """Base of everything that is described by its settings; it makes a dataclass of every subclass.

    Fields are given by keyword, except those declared ``setting(..., kw_only=False)``. A NumPy number becomes a plain
    one: files keep no NumPy types, and a float64 of NumPy would widen float32 arrays.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls).keys() | cls.__annotations__:
            inherited = getattr(super(cls, cls), name, None)
            if isinstance(inherited, property) and inherited.fset and not isinstance(vars(cls).get(name), property):
                raise ArgumentTypeError(f"{cls.__name__}.{name} hides a property of its base: give it another name")
        inherited = {field.name: field for field in dataclasses.fields(cls)}
        for name, old in inherited.items():
            if name in vars(cls) and not hasattr(vars(cls)[name], "__get__"):  # a new default; no method or property
                cls.__annotations__.setdefault(name, old.type)
        if cls.__annotations__ or len(cls.__bases__) > 1:  # else the fields are those of the base
            dataclasses.dataclass(init=False, eq=False, repr=False, kw_only=True)(cls)
        for field in dataclasses.fields(cls):
            if (old := inherited.get(field.name, field)) is not field:
                _keep_limits(field, old)
        cls._settings = {field.name: field for field in dataclasses.fields(cls) if field.init}
        CLASSES.setdefault(cls.__name__, {})[cls.__module__] = cls

    __signature__ = _SignatureOfSettings()
    _settings: ClassVar[dict[str, dataclasses.Field[Any]]] = {}

    def __init__(self, *values: Any, **settings: Any) -> None:
        """Set the fields. One method for all classes: dataclasses would write and compile one for each."""
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
        """Do what needs all fields, in a subclass."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a field's value is checked, and a NumPy number becomes a plain one."""
        if field := self._settings.get(name):
            if field.metadata.get("fixed") and getattr(self, "input_shape", None) is not None:
                raise ArgumentError(f"{type(self).__name__} is set up, and its {name} stays: make a new layer")
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
            raise ArgumentTypeError(f"{type(self).__name__} has an __init__ of its own: declare its settings as fields")
        return {name: getattr(self, name) for name in self._settings}

    @classmethod
    def from_configuration(cls, **configuration: Any) -> Self:
        """Make an object from what `configuration` returned."""
        return cls(**configuration)


def _keep_limits(field: Any, old: dataclasses.Field[Any]) -> None:
    """Let a field that a class declares anew keep the limits that it had, and its place among the arguments."""
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

    Raises ArgumentTypeError for what is no number, such as text or a truth value, and ArgumentError for other numbers.
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
    """Return a whole number of at least `low`; raise as `as_number`."""
    return int(as_number(value, name, low, whole=True))


def as_rate(value: Any, name: str) -> Any:
    """Return a number of at least 0, or a function of the step that returns such numbers; raise as `as_number`."""
    return value if callable(value) else as_number(value, name, 0)


def as_seed(value: Any, name: str) -> int:
    """Return a seed as scikit-learn takes it, a whole number in [0, 2**32); raise as `as_number`."""
    return int(as_number(value, name, 0, 2**32, whole=True))


def one_of(*choices: str) -> Check:
    """Return the check of a setting that is one of these texts."""

    def check(value: Any, name: str) -> str:
        if value not in choices:
            raise ArgumentError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}")
        return str(value)

    return check


def instance_of(kind: type, wanted: str) -> Check:
    """Return the check of a setting that is an object of a class, which errors describe as `wanted`."""

    def check(value: Any, name: str) -> Any:
        if not isinstance(value, kind):
            raise ArgumentTypeError(f"{name} is {brief(value)}; it must be {wanted}")
        return value

    return check


as_flag, as_text = instance_of(bool, "True or False"), instance_of(str, "text")


def as_shape(shape: int | Iterable[int], name: str = "a shape", rest: int | None = None) -> Shape:
    """Turn 784 or (28, 28, 1) into a tuple of positive ints, or of `rest`, which then stands for what is left."""
    try:
        sizes = tuple(operator.index(size) for size in (shape if isinstance(shape, Iterable) else (shape,)))
    except TypeError:
        raise ArgumentTypeError(f"{name} is a whole number or a tuple of these, not {shape!r}") from None
    if any(size < 1 and size != rest for size in sizes):
        raise ArgumentError(f"the sizes of {name} are 1 or more, not {sizes}")
    return sizes


def by_name(value: Any, base: type[Any], kinds: Mapping[str, type[Any]]) -> Any:
    """Return a part as it is or, of a name, a new one of that kind with its defaults; case does not matter.

    Raises ArgumentError for another name, ArgumentTypeError for what is neither of the base's kinds nor text.
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
    """Return the name of a class in small letters: "batch_norm" of "BatchNorm"."""
    return re.sub(r"(?<=[a-zA-Z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z][0-9])", "_", name).lower()
