import copy
import dataclasses
import inspect
import math
import pickle
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.utils import check_random_state

import minidl
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.settings import (
    Configurable,
    as_flag,
    as_number,
    as_rate,
    as_seed,
    as_shape,
    as_text,
    as_whole_number,
    by_name,
    instance_of,
    one_of,
    setting,
)
from minidl.training import averages


class Point(Configurable):
    x: Any = setting(0.0, kw_only=False)
    y: Any = None
    label: str = "P"
    distance: float = dataclasses.field(default=0.0, init=False)


class Dial(Configurable):
    """A setting of each kind."""

    level: float = setting(0.5, kw_only=False, low=0, below=1)
    most: float | None = setting(None, above=0)
    turns: int = setting(0, low=0, whole=True)
    on: bool = setting(True, check=as_flag)
    mode: str = setting("slow", check=one_of("slow", "fast", "off"))
    note: Any = None
    shown: float = dataclasses.field(default=0.0, init=False)


class Origin(Configurable):
    pass


class Required(Configurable):
    size: int = setting(kw_only=False, low=1, whole=True)
    rate: float = setting(low=0)


# Limits, checked in one place


OUT_OF_LIMITS = [
    ("level", 1, ArgumentError, r"level is 1; it must be a finite number, in \[0, 1\)"),
    ("level", -0.1, ArgumentError, r"level is -0\.1; it must be a finite number, in \[0, 1\)"),
    ("level", math.nan, ArgumentError, "level is nan; it must be a finite number"),
    ("level", "0.5", ArgumentTypeError, r"level is '0\.5'; it must be a number, in \[0, 1\)"),
    ("level", True, ArgumentTypeError, "level is True; it must be a number"),
    ("level", None, ArgumentTypeError, "level is None; it must be a number"),
    ("level", [0.5], ArgumentTypeError, r"level is \[0\.5\]; it must be a number"),
    ("most", 0, ArgumentError, "most is 0; it must be a finite number, above 0"),
    ("most", "1", ArgumentTypeError, "most is '1'; it must be a number, above 0"),
    ("turns", -1, ArgumentError, "turns is -1; it must be a whole number, 0 or more"),
    ("turns", 1.0, ArgumentTypeError, r"turns is 1\.0; it must be a whole number, 0 or more"),
    ("turns", np.float64(2), ArgumentTypeError, r"turns is 2\.0; it must be a whole number"),
    ("on", 1, ArgumentTypeError, "on is 1; it must be True or False"),
    ("mode", "quick", ArgumentError, "mode is 'quick'; it must be one of 'slow', 'fast', 'off'"),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), OUT_OF_LIMITS)
def test_limits_are_checked_in_the_constructor_and_when_a_setting_is_set_later(name, value, error, message):
    with pytest.raises(error, match=f"^Dial: {message}"):
        Dial(**{name: value})
    dial = Dial()
    before = getattr(dial, name)
    with pytest.raises(error, match=f"^Dial: {message}"):
        setattr(dial, name, value)
    assert getattr(dial, name) == before
    for twin in (copy.copy(dial), copy.deepcopy(dial), pickle.loads(pickle.dumps(dial))):
        with pytest.raises(error, match=f"^Dial: {message}"):
            setattr(twin, name, value)


def test_what_is_within_the_limits_is_taken_and_none_only_where_it_is_allowed():
    dial = Dial(0, most=1e300, turns=10**30, on=False, mode="fast")
    assert (dial.level, dial.most, dial.turns, dial.on, dial.mode) == (0, 1e300, 10**30, False, "fast")
    dial.most = None
    assert dial.most is None

    class Optional(Configurable):
        patience: int | None = setting(5, low=1, whole=True, optional=True)

    optional = Optional(patience=None)
    optional.patience = 3
    optional.patience = None
    assert optional.patience is None
    with pytest.raises(ArgumentError, match="Optional: patience is 0"):
        optional.patience = 0


def test_a_check_of_ones_own_returns_what_to_keep_and_gets_the_place():
    class Upper(Configurable):
        word: str = setting("A", check=lambda value, place: f"{place} {value}")

    assert Upper().word == "Upper: word A"
    upper = Upper(word="b")
    upper.word = "c"
    assert upper.word == "Upper: word c"


def test_a_setting_without_limits_takes_anything():
    value = object()
    assert Point(value).x is value


@pytest.mark.parametrize(
    ("value", "plain"), [(np.float32(0.5), 0.5), (np.float64(0.1), 0.1), (np.int64(7), 7), (np.bool_(True), True)]
)
def test_a_numpy_number_in_a_setting_is_a_plain_one_however_it_came_there(value, plain):
    point = Point(value, y=value)
    for given in (point.x, point.y):
        assert given == plain
        assert type(given) is type(plain)
    point.x = point.y = None
    point.x = point.y = value
    assert type(point.x) is type(point.y) is type(plain)


def test_a_number_with_limits_is_a_plain_float_or_int():
    dial = Dial(np.float32(0.5), most=np.int64(3), turns=np.uint8(4))
    assert [type(value) for value in (dial.level, dial.most, dial.turns)] == [float, float, int]
    dial.level, dial.most, dial.turns = np.array(0.25), 2, np.int32(5)
    assert [type(value) for value in (dial.level, dial.most, dial.turns)] == [float, float, int]
    assert (dial.level, dial.most, dial.turns) == (0.25, 2, 5)


def test_what_is_no_numpy_number_or_no_setting_is_kept_itself():
    point, array, numbers = Point(), np.ones(2), [np.float64(1)]
    point.x, point.y, point.other = array, numbers, np.float64(2)
    assert point.x is array
    assert point.y is numbers
    assert type(point.other) is np.float64


def test_a_class_that_sets_its_attributes_itself_goes_on_to():
    class Loud(Configurable):
        level: float = 0.5

        def __setattr__(self, name, value):
            super().__setattr__(name, f"{value}!")

    class Louder(Loud):
        more: float = 0.5

    assert Louder(more=1.5).more == "1.5!"


# By position and by name


def test_settings_are_given_by_name_except_those_declared_otherwise():
    assert (Dial(0.25).level, Dial(level=0.25).level) == (0.25, 0.25)
    with pytest.raises(
        ArgumentTypeError, match=r"^Dial: too many positional arguments; it is Dial\(level=0.5, \*, most="
    ):
        Dial(0.25, 1.0)

    class Named(Configurable):
        size: int = 1

    with pytest.raises(ArgumentTypeError, match=r"^Named: too many positional arguments; it is .*size="):
        Named(3)
    with pytest.raises(ArgumentTypeError, match=r"^Origin: too many positional arguments; it is Origin\(\)$"):
        Origin(1)

    class Two(Configurable):
        first: int = setting(1, kw_only=False)
        third: int = 3
        second: int = setting(2, kw_only=False)

    assert repr(Two(5, 6)) == f"{Two.__qualname__}(first=5, second=6, third=3)"
    with pytest.raises(ArgumentTypeError, match="Two: too many positional arguments; it is .*third="):
        Two(5, 6, 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: minidl.SGD(0.1, momentum=0.9), "SGD has no setting 'momentum'; use Momentum\\(0.01, momentum=0.9\\)"),
        (lambda: minidl.Adam(learning_rat=0.1), "Adam has no setting 'learning_rat'; did you mean 'learning_rate'"),
        (
            lambda: minidl.Dense(3, activation="relu"),
            "Dense has no setting 'activation'; an activation is a separate layer: Dense\\(64\\), ReLU",
        ),
        (lambda: minidl.Dense(3, unitz=3), "Dense has no setting 'unitz'; did you mean 'units'?"),
        (lambda: Dial(shown=1.0), "Dial has no setting 'shown'; there are level"),
        (lambda: Origin(x=1), "Origin has no setting 'x'"),
        (lambda: minidl.LayerNorm(64), "LayerNorm: too many positional arguments; it is .*epsilon="),
        (lambda: minidl.PReLU(64), "PReLU: too many positional arguments; it is .*initial_slope="),
        (lambda: minidl.BatchNorm(0.9), "BatchNorm: too many positional arguments; it is .*momentum="),
        (lambda: minidl.AdamW(1e-3, 1e-2), "AdamW: too many positional arguments; it is .*weight_decay="),
        (
            lambda: minidl.Residual(minidl.Dense(64), minidl.ReLU()),
            r"Residual: too many positional arguments; it is Residual\(layers, \*, ",
        ),
        (lambda: minidl.Dropout(0.5, 3), r"Dropout: too many positional arguments; it is Dropout\(rate.*, \*, "),
    ],
)
def test_a_setting_that_a_class_does_not_have_is_answered_with_those_that_it_has(make, message):
    with pytest.raises(ArgumentTypeError, match=f"^{message}"):
        make()


def test_a_setting_that_is_missing_or_given_twice_is_named():
    for make, name in ((Required, "size"), (lambda: Required(3), "rate"), (lambda: Required(rate=1.0), "size")):
        with pytest.raises(
            ArgumentTypeError, match=f"^Required: missing a required argument: '{name}'; it is Required"
        ):
            make()
    with pytest.raises(ArgumentTypeError, match="^Required: multiple values for argument 'size'; it is "):
        Required(3, size=4, rate=1.0)
    assert repr(Required(3, rate=1)) == "Required(size=3, rate=1.0)"


def test_the_signature_that_help_shows_is_that_of_the_settings():
    parameters = inspect.signature(Dial).parameters
    assert list(parameters) == ["level", "most", "turns", "on", "mode", "note"]
    by_name = [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY]
    assert by_name == ["most", "turns", "on", "mode", "note"]
    assert [each.default for each in parameters.values()] == [0.5, None, 0, True, "slow", None]
    assert inspect.signature(Required).parameters["rate"].default is inspect.Parameter.empty
    assert list(inspect.signature(minidl.Dropout).parameters) == ["rate", "name"]
    assert list(inspect.signature(Origin).parameters) == []


# What is set on the wrong object


@pytest.mark.parametrize(
    ("make", "name", "where"),
    [
        (minidl.Adam, "lr", "learning_rate of the optimizer"),
        (minidl.Adam, "trainable", "trainable of a layer or model"),
        (lambda: minidl.Dense(3), "lr", "learning_rate of the optimizer"),
        (lambda: minidl.Dense(3), "learning_rate", "learning_rate of the optimizer"),
        (lambda: minidl.Dense(3), "frozen", "trainable of a layer or model"),
        (lambda: minidl.Dense(3), "requires_grad", "trainable of a layer or model"),
        (minidl.SoftmaxCrossEntropy, "trainable", "trainable of a layer or model"),
        (lambda: minidl.L2(0.1), "learning_rate", "learning_rate of the optimizer"),
        (lambda: minidl.Sequential([minidl.Dense(3)]), "learning_rate", "learning_rate of the optimizer"),
        (
            lambda: minidl.Trainer(minidl.Sequential([minidl.Dense(3), minidl.MeanSquaredError()])),
            "learning_rate",
            "learning_rate of the optimizer",
        ),
    ],
)
def test_what_would_do_nothing_where_it_is_set_is_refused_with_the_object_that_has_it(make, name, where):
    owner = make()
    message = f"^{type(owner).__name__} has no '{name}': set the {where}$"
    with pytest.raises(ArgumentError, match=message):
        setattr(owner, name, 0.1)
    assert not hasattr(owner, name)


def test_the_same_names_are_set_where_they_are_settings_or_attributes():
    optimizer, layer = minidl.Adam(), minidl.Dense(3)
    optimizer.learning_rate, layer.trainable = 0.5, False
    assert (optimizer.learning_rate, layer.trainable) == (0.5, False)

    class Own(Configurable):
        lr: float = setting(0.1, low=0)
        frozen = False

    own = Own(lr=0.5)
    own.lr, own.frozen = 0.25, True
    assert (own.lr, own.frozen) == (0.25, True)
    own.something = 3  # any other name is free
    assert own.something == 3


# Subclasses


class Fine(Dial):
    step: int = setting(1, low=1, whole=True)


def test_a_subclass_has_the_settings_of_its_base_and_its_own_with_their_limits():
    fine = Fine(0.25, turns=2, step=3)
    assert repr(fine) == "Fine(level=0.25, turns=2, on=True, mode='slow', shown=0.0, step=3)"
    for name, value in (("level", 1), ("turns", -1), ("step", 0)):
        with pytest.raises(ArgumentError, match=f"^Fine: {name} is {value}"):
            setattr(fine, name, value)


class Plain(Dial):
    level = 0.25
    turns = 3


class Annotated(Dial):
    level: float = 0.25
    turns: int = 3


class AsField(Dial):
    level: float = dataclasses.field(default=0.25)
    turns: int = dataclasses.field(default=3)


class AsSetting(Dial):
    level: float = setting(0.25)
    turns: int = setting(3)


class OfPlain(Plain):
    step: int = 1


class OfPlainAgain(OfPlain):
    level = 0.125
    turns = 4
    step = 2


@pytest.mark.parametrize("kind", [Plain, Annotated, AsField, AsSetting, OfPlain, OfPlainAgain])
def test_a_new_default_of_an_inherited_setting_keeps_its_limits_and_its_kind_however_it_is_written(kind):
    level, turns = (0.125, 4) if kind is OfPlainAgain else (0.25, 3)
    assert (kind().level, kind().turns) == (level, turns)
    assert kind(0.75).level == 0.75
    assert kind(0.75, turns=1).configuration()["turns"] == 1
    assert (Dial().level, Dial().turns) == (0.5, 0)
    assert list(inspect.signature(kind).parameters)[:3] == ["level", "most", "turns"]
    with pytest.raises(ArgumentTypeError, match=f"^{kind.__name__}: too many positional arguments; it is "):
        kind(0.75, 1.0)
    dial = kind()
    refused = [("level", 1, ArgumentError), ("turns", -1, ArgumentError), ("turns", 1.5, ArgumentTypeError)]
    for name, value, error in refused:
        with pytest.raises(error, match=f"^{kind.__name__}: {name} is {value}; it must be"):
            kind(**{name: value})
        with pytest.raises(error, match=f"^{kind.__name__}: {name} is {value}; it must be"):
            setattr(dial, name, value)
    dial.level = np.float32(0.5)
    assert type(dial.level) is float


def test_a_new_default_may_bring_other_limits_and_another_kind():
    class Wide(Dial):
        level: float = setting(5.0, low=2, below=9)
        turns: int = setting(3, kw_only=False)

    assert Wide(3, 4).turns == 4
    with pytest.raises(ArgumentError, match=r"Wide: level is 1; it must be a finite number, in \[2, 9\)"):
        Wide(1)
    with pytest.raises(ArgumentError, match="Wide: turns is -1; it must be a whole number, 0 or more"):
        Wide(3, -1)


def test_an_inherited_field_without_limits_may_get_some():
    class Held(Point):
        y: Any = setting(0.5, low=0)

    assert (Held().y, Point(y=-1).y) == (0.5, -1)
    with pytest.raises(ArgumentError, match="Held: y is -1; it must be a finite number, 0 or more"):
        Held(y=-1)
    with pytest.raises(ArgumentTypeError, match="Held: y is None; it must be a number"):
        Held(y=None)


def test_a_new_default_that_is_out_of_the_limits_is_refused_when_an_object_is_made():
    class Beyond(Dial):
        level = 2.0

    with pytest.raises(ArgumentError, match=r"Beyond: level is 2\.0; it must be a finite number, in \[0, 1\)"):
        Beyond()
    assert Beyond(0.5).level == 0.5


def test_a_setting_that_is_annotated_anew_keeps_its_default_or_its_lack_of_one():
    class Again(Dial):
        level: float
        turns: int

    class StillRequired(Required):
        size: int
        rate: float

    assert (Again().level, Again(0.25).level, Again(turns=2).turns) == (0.5, 0.25, 2)
    with pytest.raises(ArgumentError, match="Again: level is -1"):
        Again(-1)
    with pytest.raises(TypeError, match="missing a required.* argument: 'rate'"):
        StillRequired(3)
    with pytest.raises(ArgumentError, match="StillRequired: size is 0"):
        StillRequired(0, rate=1)


def test_a_setting_without_a_default_may_get_one_below():
    class Given(Required):
        size = 7
        rate: float = 0.5

    assert repr(Given()) == f"{Given.__qualname__}(size=7, rate=0.5)"
    assert Given(8).size == 8


def test_none_as_a_new_default_is_allowed_from_then_on():
    class Open(Dial):
        level: float | None = setting(None)

    opened = Open()
    assert opened.level is None
    opened.level = 0.5
    opened.level = None
    with pytest.raises(ArgumentError, match="Open: level is 1"):
        opened.level = 1


def test_a_function_as_a_new_default_is_one_where_it_is_annotated():
    class Decreasing(minidl.SGD):
        learning_rate: Any = lambda step: 1 / (1 + step)

    assert Decreasing().rate() == 1
    assert Decreasing(0.5).rate() == 0.5
    with pytest.raises(ArgumentError, match="Decreasing: learning_rate is -1"):
        Decreasing(-1)


def test_a_property_or_method_in_the_place_of_a_setting_stays_one():
    class Fixed(Dial):
        level = property(lambda self: 0.75, lambda self, value: None)

        def note(self):
            return "noted"

    fixed = Fixed(0.25)
    assert fixed.level == 0.75
    assert Fixed.note(fixed) == "noted"


def test_class_variables_are_no_settings():
    class WithConstant(Dial):
        kinds: ClassVar[tuple[str, ...]] = ("a", "b")
        size = 3

    assert WithConstant.kinds == ("a", "b")
    assert WithConstant.size == 3
    assert "kinds" not in WithConstant().configuration()
    with pytest.raises(ArgumentTypeError, match="has no setting 'size'"):
        WithConstant(size=4)


def test_a_class_of_two_bases_has_the_settings_and_limits_of_both():
    class Both(Fine, Required):
        pass

    both = Both(level=0.5, size=3, rate=1)
    assert (both.level, both.size) == (0.5, 3)
    for name in ("size", "step", "turns"):
        with pytest.raises(ArgumentError, match=f"^Both: {name} is -5"):
            setattr(both, name, -5)


def test_an_abstract_base_cannot_be_made_and_what_defines_its_methods_can():
    class Shape(Configurable, ABC):
        scale: float = setting(1.0, above=0)

        @abstractmethod
        def area(self):
            """Return a number."""

    class Square(Shape):
        side: float = setting(kw_only=False, low=0)

        def area(self):
            return (self.scale * self.side) ** 2

    with pytest.raises(TypeError, match="abstract"):
        Shape()
    assert Square(3, scale=2).area() == 36
    with pytest.raises(ArgumentError, match="Square: scale is 0"):
        Square(3, scale=0)


def test_what_is_done_after_the_settings_are_set_belongs_in_post_init():
    class Range(Configurable):
        low: float = 0.0
        high: float = 1.0

        def __post_init__(self):
            self.width = self.high - self.low

    class Half(Range):
        high = 0.5

    assert (Range().width, Half().width, Half(low=0.25).width) == (1, 0.5, 0.25)


# An __init__ of one's own


class Circle(Configurable):
    radius: float = setting(1.0, above=0)

    def __init__(self, diameter=2.0):
        self.radius = diameter / 2


class Disc(Circle):
    width: float = 0.5


def test_an_init_of_ones_own_is_called_and_the_limits_of_fields_hold_in_it():
    assert Circle(4).radius == Circle(diameter=4).radius == 2
    assert list(inspect.signature(Circle).parameters) == ["diameter"]
    with pytest.raises(ArgumentError, match="Circle: radius is -1.0; it must be a finite number, above 0"):
        Circle(-2)
    circle = Circle()
    with pytest.raises(ArgumentError, match="Circle: radius is 0"):
        circle.radius = 0


@pytest.mark.parametrize("make", [lambda: Circle(1, 2), lambda: Circle(size=1), lambda: Disc(width=1)])
def test_arguments_that_an_init_of_ones_own_does_not_take_are_pythons_own_error(make):
    with pytest.raises(TypeError, match="argument") as caught:
        make()
    assert not isinstance(caught.value, ArgumentTypeError)


def test_a_class_below_one_with_an_init_of_its_own_has_that():
    disc = Disc(4)
    assert (disc.radius, disc.width) == (2, 0.5)


def test_an_init_of_ones_own_may_call_that_of_the_settings():
    class Ring(Dial):
        def __init__(self, thickness):
            super().__init__(level=thickness / 2, turns=3)
            self.thickness = thickness

    ring = Ring(0.5)
    assert (ring.level, ring.turns, ring.thickness, ring.mode) == (0.25, 3, 0.5, "slow")
    with pytest.raises(ArgumentError, match="Ring: level is 2.0"):
        Ring(4)


@pytest.mark.parametrize("shape", [Circle(2.0), Disc(2.0)])
def test_a_class_with_an_init_of_its_own_has_no_configuration(shape):
    with pytest.raises(ArgumentTypeError, match=f"^{type(shape).__name__} has its own __init__: declare its set"):
        shape.configuration()


# Configuration and repr


def test_the_configuration_is_the_settings_as_they_are_now():
    point = Point(1.5, label="A")
    point.y, point.distance = 2.5, 99.0
    assert point.configuration() == {"x": 1.5, "y": 2.5, "label": "A"}
    assert Origin().configuration() == {}
    again = Point.from_configuration(**point.configuration())
    assert again.configuration() == point.configuration()


def test_the_repr_shows_the_fields_positional_ones_first_but_no_default_of_none():
    class Tuned(Point):
        limit: float | None = None
        scale: float = setting(2.0, kw_only=False)
        secret: int = dataclasses.field(default=7, repr=False)
        hidden: int = setting(8, repr=False)
        parent: Any = 3

    assert repr(Point()) == "Point(x=0.0, label='P', distance=0.0)"
    assert repr(Point(None, y=1)) == "Point(x=None, y=1, label='P', distance=0.0)"
    assert repr(Tuned(parent=None)).endswith("Tuned(x=0.0, scale=2.0, label='P', distance=0.0, parent=None)")
    assert repr(Tuned(limit=1)).endswith("Tuned(x=0.0, scale=2.0, label='P', distance=0.0, limit=1, parent=3)")
    assert repr(Origin()) == "Origin()"


def test_a_quiet_setting_is_shown_where_it_is_not_its_default():
    class Quiet(Configurable):
        decay: float = setting(0.0, low=0, quiet=True)

    class Louder(Quiet):
        decay = 0.5

    for default in (Quiet(), Quiet(decay=0), Quiet(decay=np.float32(0))):
        assert repr(default).endswith("Quiet()")
    assert repr(Quiet(decay=0.5)).endswith("Quiet(decay=0.5)")
    assert repr(Louder()).endswith("Louder(decay=0.5)")  # a class that has some by default says so
    assert repr(Louder(decay=0)).endswith("Louder(decay=0.0)")


def test_the_repr_of_arrays_in_settings_compares_nothing():
    class Holder(Configurable):
        values: Any = setting(None)
        others: Any = 0.0

    holder = Holder(values=np.arange(2), others=np.arange(3))
    assert repr(holder).endswith("Holder(values=array([0, 1]), others=array([0, 1, 2]))")


def test_a_repr_of_ones_own_stays_also_in_a_subclass():
    class Named(Configurable):
        x: int = 1

        def __repr__(self):
            return f"the {self.x}"

    class Twice(Named):
        y: int = 2

    assert (repr(Named()), repr(Twice())) == ("the 1", "the 1")


def test_the_repr_of_what_holds_itself_ends():
    point = Point()
    point.x = point
    assert repr(point) == "Point(x=..., label='P', distance=0.0)"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda point: pickle.loads(pickle.dumps(point))])
def test_a_copy_has_the_same_settings_and_attributes(duplicate):
    point = Point(1.5, label="A")
    point.distance, point.other = 3.0, "more"
    again = duplicate(point)
    assert vars(again) == vars(point)
    again.x = 2.5
    assert point.x == 1.5


def test_objects_are_the_same_only_as_themselves():
    def below(kind):
        return {kind}.union(*map(below, kind.__subclasses__()))

    kinds = {kind for kind in below(Configurable) if kind.__module__.startswith("minidl.")}
    assert len(kinds) > 20
    # A dataclass with eq compares field by field, and cannot be in a set.
    assert not [kind for kind in kinds if kind.__eq__ is not object.__eq__ or kind.__hash__ is not object.__hash__]
    assert Point() != Point()
    assert len({Point(), Point()}) == 2


# The settings of the package


MODULES = (
    minidl.layers,
    minidl.losses,
    minidl.initializers,
    minidl.regularizers,
    minidl.blocks,
    minidl.optimizers,
    minidl.schedules,
    averages,
)
PARTS = sorted(
    {
        kind
        for module in MODULES
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Configurable) and not inspect.isabstract(kind)
    }
    - {Configurable},
    key=lambda kind: (kind.__module__, kind.__name__),
)
SETTINGS = [
    pytest.param(kind, each, id=f"{kind.__name__}.{each.name}")
    for kind in PARTS
    for each in dataclasses.fields(kind)
    if each.init and each.type in {"float", "bool", "int", float, bool, int}
]
GIVEN = {"layers": minidl.ReLU(), "branches": [minidl.ReLU()], "target_shape": -1}


def test_there_are_settings_to_look_at():
    assert len(PARTS) > 60
    assert len(SETTINGS) > 60


@pytest.mark.parametrize(("kind", "each"), SETTINGS)
def test_a_setting_of_ours_is_checked_and_the_error_names_the_class_even_of_a_subclass(kind, each):
    required = [field.name for field in dataclasses.fields(kind) if field.init and field.default is dataclasses.MISSING]
    given = {name: GIVEN.get(name, 2) for name in required}
    own = type("Own", (kind,), {})
    made = own(**given)
    before = getattr(made, each.name)
    wrong = [(value, ArgumentTypeError) for value in ("no", None, [1.0], 1 if each.type in {"bool", bool} else True)]
    if each.type in {"float", float}:
        wrong += [(value, ArgumentError) for value in (np.nan, -np.inf)]
    for value, error in wrong:
        message = f"^Own: {each.name} is " + ".*finite number" * (error is ArgumentError)
        with pytest.raises(error, match=message):
            own(**{**given, each.name: value})
        with pytest.raises(error, match=message):
            setattr(made, each.name, value)
    assert getattr(made, each.name) == before
    if each.type in {"bool", bool}:
        setattr(made, each.name, np.bool_(not before))
        assert getattr(made, each.name) is not before


ANNEALED = {
    "GaussianNoise.standard_deviation": lambda trainer: (trainer.model.layers[0], "standard_deviation"),
    "L2.strength": lambda trainer: (trainer.model.layers[1].regularizer, "strength"),
    "MaxNorm.limit": lambda trainer: (trainer.model.layers[1].constraint, "limit"),
    "ELU.alpha": lambda trainer: (trainer.model.layers[2], "alpha"),
    "SoftmaxCrossEntropy.label_smoothing": lambda trainer: (trainer.model.loss, "label_smoothing"),
    "Momentum.momentum": lambda trainer: (trainer.optimizer, "momentum"),
}


@pytest.mark.parametrize("annealed", ANNEALED.values(), ids=ANNEALED)
def test_a_run_whose_settings_a_callback_takes_from_an_array_resumes_to_the_same_bits(annealed, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 6)), rng.integers(0, 3, 60)
    values = np.linspace(0.1, 0.37, 6)

    def anneal(trainer):
        owner, name = annealed(trainer)
        setattr(owner, name, values[trainer.epoch - 1])

    def finish(trainer, *callbacks):
        trainer.fit(x, y, epochs=6 - trainer.epoch, callbacks=[anneal, *callbacks], progress=False)
        return trainer.model.parameters

    hidden = minidl.Dense(8, regularizer=minidl.L2(0.01), constraint=minidl.MaxNorm(1.0))
    layers = [minidl.GaussianNoise(0.1), hidden, minidl.ELU(), minidl.Dense(3), minidl.SoftmaxCrossEntropy()]
    trainer = minidl.Trainer(minidl.Sequential(layers, seed=0), minidl.Momentum(0.1), batch_size=20, seed=0)
    whole = finish(trainer, minidl.Checkpoint(tmp_path, keep=None))
    resumed = finish(minidl.Trainer.load(tmp_path / "step_0000000009.npz"))
    np.testing.assert_array_equal(resumed, whole)


# Numbers, texts and shapes


@pytest.mark.parametrize("value", [1, 7, np.int64(1)])
def test_a_whole_number_that_is_large_enough_is_returned_as_an_int(value):
    number = as_whole_number(value, "epochs", 1)
    assert number == value
    assert type(number) is int


def test_a_whole_number_is_0_or_more_unless_said_otherwise():
    assert as_whole_number(0, "epochs") == 0
    with pytest.raises(ArgumentError, match="epochs is -1; it must be a whole number, 0 or more$"):
        as_whole_number(-1, "epochs")
    assert as_whole_number(-1, "axis", -3) == -1


def test_a_whole_number_that_is_too_small_is_refused():
    with pytest.raises(ArgumentError, match="epochs is 0; it must be a whole number, 1 or more$"):
        as_whole_number(0, "epochs", 1)


@pytest.mark.parametrize("value", [1.0, "1", None, np.float64(2), True, np.bool_(True)])
def test_what_is_no_whole_number_is_refused_by_its_type(value):
    with pytest.raises(ArgumentTypeError, match=r"epochs is .*; it must be a whole number, 1 or more"):
        as_whole_number(value, "epochs", 1)


@pytest.mark.parametrize("value", [0, 2**32 - 1, np.uint32(7)])
def test_a_seed_is_one_that_scikit_learn_takes(value):
    assert as_seed(value, "seed") == value
    check_random_state(as_seed(value, "seed"))


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ArgumentError), (2**32, ArgumentError), (1.0, ArgumentTypeError), (None, ArgumentTypeError)],
)
def test_what_is_no_seed_is_refused(value, error):
    with pytest.raises(error, match=rf"^seed is {value}; it must be a whole number, in \[0, 4294967296\)$"):
        as_seed(value, "seed")


@pytest.mark.parametrize("value", [True, False])
def test_a_flag_is_returned_itself(value):
    assert as_flag(value, "shuffle") is value


@pytest.mark.parametrize("value", [0, 1, None, "yes", np.True_])
def test_what_is_no_flag_is_refused(value):
    with pytest.raises(ArgumentTypeError, match="^shuffle is .*; it must be True or False$"):
        as_flag(value, "shuffle")


def test_a_text_is_returned_itself_and_anything_else_refused():
    assert as_text("a", "name") == "a"
    for value in (None, 3, b"a"):
        with pytest.raises(ArgumentTypeError, match="^name is .*; it must be text$"):
            as_text(value, "name")


def test_one_of_several_texts_is_taken_and_another_answered_with_all():
    check = one_of("min", "max", "auto")
    assert check("max", "mode") == "max"
    for value in ("maximum", None, 3):
        with pytest.raises(ArgumentError, match=f"^mode is {value!r}; it must be one of 'min', 'max', 'auto'$"):
            check(value, "mode")


def test_an_object_of_a_class_is_taken_and_another_answered_with_what_is_wanted():
    check, own = instance_of(minidl.Regularizer, "a Regularizer, or None"), minidl.L1()
    assert check(own, "Dense: regularizer") is own
    with pytest.raises(ArgumentTypeError, match=r"^place is 0\.1; it must be a Regularizer, or None$"):
        check(0.1, "place")


def test_a_name_means_what_is_known_by_it_in_any_case():
    kinds = {"adam": minidl.Adam, "sgd": minidl.SGD}
    assert type(by_name("Adam", minidl.Optimizer, kinds)) is minidl.Adam
    with pytest.raises(ArgumentError, match="^no optimizer is named 'adm'; did you mean 'adam'"):
        by_name("adm", minidl.Optimizer, kinds)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (784, (784,)),
        ((28, 28, 1), (28, 28, 1)),
        ([2, 3], (2, 3)),
        (np.int64(5), (5,)),
        (np.array([2, 3]), (2, 3)),
        ((), ()),
    ],
)
def test_a_shape_is_a_whole_number_or_several(shape, expected):
    assert as_shape(shape) == expected
    assert all(type(size) is int for size in as_shape(shape))


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (0, ArgumentError, r"1 or more, not \(0,\)"),
        ((3, -1), ArgumentError, r"1 or more, not \(3, -1\)"),
        (2.5, ArgumentTypeError, "a whole number or a tuple of these, not 2.5"),
        ((2.0, 3), ArgumentTypeError, r"not \(2\.0, 3\)"),
        ("ab", ArgumentTypeError, "not 'ab'"),
        (None, ArgumentTypeError, "not None"),
    ],
)
def test_what_is_no_shape_is_refused(shape, error, message):
    with pytest.raises(error, match=message):
        as_shape(shape)
    with pytest.raises(error, match=f"input_shape.*{message}"):
        as_shape(shape, "input_shape")


def test_a_number_within_its_limits_is_returned_as_a_float():
    for value, limits in [
        (0, {"low": 0}),
        (np.float32(0.5), {"low": 0, "below": 1}),
        (1e-300, {"above": 0}),
        (1, {"above": 0, "most": 1}),
        (-7, {}),
    ]:
        number = as_number(value, "rate", **limits)
        assert type(number) is float
        assert number == value


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (-1, {"low": 0}, "rate is -1; it must be a finite number, 0 or more$"),
        (1, {"low": 0, "below": 1}, r"rate is 1; it must be a finite number, in \[0, 1\)$"),
        (0, {"above": 0}, "rate is 0; it must be a finite number, above 0$"),
        (0, {"above": 0, "below": 2}, r"rate is 0; it must be a finite number, in \(0, 2\)$"),
        (0, {"above": 0, "most": 1}, r"rate is 0; it must be a finite number, in \(0, 1\]$"),
        (1.5, {"low": 0, "most": 1}, r"rate is 1\.5; it must be a finite number, in \[0, 1\]$"),
        (3, {"low": 0, "below": 3, "whole": True}, r"rate is 3; it must be a whole number, in \[0, 3\)$"),
        (float("nan"), {}, "rate is nan; it must be a finite number$"),
        (float("inf"), {}, "rate is inf; it must be a finite number$"),
        (float("-inf"), {}, "rate is -inf; it must be a finite number$"),
    ],
)
def test_a_number_out_of_its_limits_is_refused_with_them(value, limits, message):
    with pytest.raises(ArgumentError, match=message):
        as_number(value, "rate", **limits)


@pytest.mark.parametrize("value", ["1", None, True, np.True_, [1.0, 2.0], 1j])
def test_what_is_no_number_is_refused_by_its_type(value):
    with pytest.raises(ArgumentTypeError, match="rate is .*; it must be a number$"):
        as_number(value, "rate")


def test_a_function_is_a_number_only_where_that_is_said():
    def rate(step):
        return 0.1

    assert as_rate(rate, "rate") is rate
    assert as_rate(2, "rate") == 2.0
    with pytest.raises(ArgumentTypeError, match="rate is <function .*; it must be a number, 0 or more"):
        as_number(rate, "rate", 0)
    with pytest.raises(ArgumentTypeError, match="rate is 'x'; it must be a number, 0 or more"):
        as_rate("x", "rate")
