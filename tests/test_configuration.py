import copy
import dataclasses
import enum
import importlib
import inspect
import json
import sys
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest

import minidl
from minidl.configuration import Configurable, decode, encode
from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError


@dataclass(eq=False)
class Point(Configurable):
    x: Any = 0.0
    y: Any = None
    label: str = "P"
    distance: float = field(default=0.0, init=False)


@dataclass(eq=False)
class Dial(Configurable):
    level: float = 0.5
    most: float | None = None
    turns: int = 0
    note: Any = None
    shown: float = field(default=0.0, init=False)


class Origin(Configurable):
    pass


class Circle(Configurable):
    def __init__(self, radius=1.0):
        self.radius = radius


class Disc(Circle):
    pass


class Square(Configurable):
    def __init__(self, side):
        self.side = side

    def configuration(self):
        return {"width": self.side}

    @classmethod
    def from_configuration(cls, **configuration):
        return cls(configuration["width"])


class Colour(enum.IntEnum):
    RED = 1


def through_json(value):
    return decode(json.loads(json.dumps(encode(value))))


def test_the_configuration_is_the_constructor_arguments_as_they_are_now():
    point = Point(1.5, label="A")
    point.y, point.distance = 2.5, 99.0
    assert point.configuration() == {"x": 1.5, "y": 2.5, "label": "A"}
    assert Origin().configuration() == {}


def test_the_repr_shows_the_fields_in_the_order_of_the_constructor_but_no_default_of_none():
    @dataclass(eq=False)
    class Tuned(Point):
        limit: float | None = field(default=None, kw_only=True)
        scale: float = 2.0
        secret: int = field(default=7, repr=False)
        parent: Any = 3

    assert repr(Point()) == "Point(x=0.0, label='P', distance=0.0)"
    assert repr(Point(None, 1)) == "Point(x=None, y=1, label='P', distance=0.0)"
    assert repr(Tuned(parent=None)).endswith("Tuned(x=0.0, label='P', distance=0.0, scale=2.0, parent=None)")
    assert repr(Tuned(limit=1)).endswith("Tuned(x=0.0, label='P', distance=0.0, scale=2.0, parent=3, limit=1)")


def test_a_repr_of_ones_own_stays_also_in_a_subclass_and_a_plain_class_has_pythons():
    @dataclass(eq=False)
    class Named(Configurable):
        x: int = 1

        def __repr__(self):
            return f"the {self.x}"

    @dataclass(eq=False)
    class Twice(Named):
        y: int = 2

    assert (repr(Named()), repr(Twice())) == ("the 1", "the 1")
    assert repr(Origin()).startswith("<")


def test_the_repr_of_what_holds_itself_ends():
    point = Point()
    point.x = point
    assert repr(point) == "Point(x=..., label='P', distance=0.0)"


def test_a_description_names_class_module_and_arguments():
    assert encode(Point(1, [Origin()])) == {
        "class": "Point",
        "module": __name__,
        "configuration": {
            "x": 1,
            "y": [{"class": "Origin", "module": __name__, "configuration": {}}],
            "label": "P",
        },
    }


@pytest.mark.parametrize("value", [None, True, 3, -2.5, 1e300, 0.1, "text", (1, (2.5, "a", None)), (), np.pi])
def test_a_value_goes_through_json_unchanged(value):
    again = through_json(Point(value)).x
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        ([1, [2, 3]], (1, (2, 3))),
        (Colour.RED, 1),
    ],
)
def test_numpy_numbers_and_lists_come_back_as_plain_numbers_and_tuples(value, plain):
    again = through_json(Point(value)).x
    assert again == plain
    assert type(again) is type(plain)


@pytest.mark.parametrize(
    ("value", "plain"), [(np.float32(0.5), 0.5), (np.float64(0.1), 0.1), (np.int64(7), 7), (np.bool_(True), True)]
)
def test_a_numpy_number_in_a_field_is_a_plain_one_however_it_came_there(value, plain):
    for made in (Dial(value, turns=value, note=value), Dial()):
        made.level = made.most = made.turns = made.note = made.shown = value
        for given in (made.level, made.most, made.turns, made.note, made.shown):
            assert given == plain
            assert type(given) is type(plain)
    assert type(Dial(value).level) is type(plain)


def test_what_is_no_numpy_number_or_no_field_is_kept_itself():
    dial, array, numbers = Dial(), np.ones(2), [np.float64(1)]
    dial.note, dial.level, dial.other = array, numbers, np.float64(2)
    assert dial.note is array
    assert dial.level is numbers
    assert type(dial.other) is np.float64


def test_a_class_that_sets_its_attributes_itself_goes_on_to():
    class Loud(Configurable):
        level: float = 0.5

        def __setattr__(self, name, value):
            super().__setattr__(name, f"{value}!")

    @dataclass(eq=False)
    class Louder(Loud):
        more: float = 0.5

    assert Louder(1.5).more == "1.5!"


def test_a_subclass_and_a_copy_take_plain_numbers_too():
    @dataclass(eq=False)
    class Fine(Dial):
        step: int = 1

    for dial in (Fine(), copy.deepcopy(Fine()), copy.copy(Fine())):
        dial.level = np.float64(0.25)
        assert type(dial.level) is float


def test_objects_within_objects_come_back_as_objects():
    again = through_json(Point(Point(1.0, "inner"), [Origin(), Square(3)]))
    assert (again.x.x, again.x.y) == (1.0, "inner")
    assert type(again.y[0]) is Origin
    assert type(again.y[1]) is Square
    assert again.y[1].side == 3


@pytest.mark.parametrize("value", [np.zeros(2), {"a": 1}, print, object(), {1}, 1j, np.complex64(1), b"bytes"])
def test_what_json_cannot_hold_is_refused_with_its_place(value):
    with pytest.raises(ArgumentTypeError, match=r"Point\.y\[1\]\[0\] = .* cannot be saved: .* or distortions"):
        encode(Point(Origin(), [1, (value,)]))


@pytest.mark.parametrize("shape", [Circle(2.0), Disc(2.0)])
def test_a_class_with_an_init_of_its_own_has_to_say_its_configuration(shape):
    with pytest.raises(ArgumentTypeError, match=f"{type(shape).__name__} .*@dataclass.* or define configuration"):
        encode(shape)


class Undecorated(Point):
    kinds: ClassVar = ("a", "b")
    size: float = 1.0
    depth: float


class Bare(Configurable):
    size: float = 1.0


class Own(Configurable):
    size: float

    def __init__(self, size):
        self.size = size


@pytest.mark.parametrize(
    "make",
    [
        lambda: Undecorated(size=2.0),
        lambda: Undecorated(0, 0, "P", 2.0),
        lambda: Bare(2.0),
        lambda: Bare(size=2.0),
        lambda: type("Below", (Bare,), {})(2.0),
    ],
)
def test_a_class_whose_decorator_was_forgotten_says_so_when_it_gets_its_fields_values(make):
    with pytest.raises(ArgumentTypeError, match=r"argument.*; write @dataclass\(eq=False\) above the class, .* size"):
        make()


class Counting(minidl.Dense):  # without the decorator, too
    calls: int = 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Counting(unitz=3), "Counting has no argument 'unitz'; did you mean 'units'?"),
        (lambda: Counting(3, color="red"), "Counting has no argument 'color'; there are units"),
        (lambda: Bare(sizes=2.0), "Bare has no argument 'sizes'; did you mean 'size'?"),
        (lambda: Counting(3, unitz=3, calls=2), "Counting: .*; write @dataclass"),
        (lambda: Counting(*range(20)), "Counting: too many positional arguments; write @dataclass"),
    ],
)
def test_a_name_that_no_decorator_would_make_an_argument_is_told_as_such(make, message):
    with pytest.raises(ArgumentTypeError, match=f"^{message}"):
        make()


def test_what_only_misses_an_argument_is_told_by_python():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'units'") as raised:
        Counting(name="first")
    assert not isinstance(raised.value, ArgumentTypeError)
    with pytest.raises(TypeError, match="positional arguments? but"):
        minidl.Dense(*range(20))


def test_only_fields_are_named_as_arguments_that_the_decorator_makes():
    with pytest.raises(ArgumentTypeError, match="of its fields, size, depth$"):
        Undecorated(size=2.0)


def test_without_the_decorator_what_the_class_above_takes_is_still_taken():
    made = Undecorated(1.5, label="A")
    assert (made.x, made.label, made.size) == (1.5, "A", 1.0)
    assert Bare().size == 1.0
    assert Own(2.0).size == 2.0


@pytest.mark.parametrize("make", [lambda: Origin(1), lambda: Own(1, 2), lambda: Disc(1, 2)])
def test_arguments_that_are_merely_wrong_are_pythons_own_error(make):
    with pytest.raises(TypeError, match="argument") as caught:
        make()
    assert not isinstance(caught.value, ArgumentTypeError)


def test_signatures_are_those_of_the_dataclasses():
    assert list(inspect.signature(Point).parameters) == ["x", "y", "label"]
    assert list(inspect.signature(minidl.Dropout).parameters) == ["rate", "name"]


def test_a_dataclass_below_a_class_with_an_init_has_its_fields_again():
    @dataclass(eq=False)
    class Ring(Circle):
        width: float = 0.5

    assert Ring(0.25).configuration() == {"width": 0.25}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"class": "Point"}, r"not by \['class'\]"),
        ({"class": "Point", "module": "m", "configuration": {}, "more": 1}, "more"),
        ({"class": "Point", "module": __name__, "configuration": []}, "is described by class, module"),
        ({"class": "Nowhere", "module": "planets", "configuration": {}}, "'Nowhere' is not known: import .*'planets'"),
        ({"class": "Point", "module": __name__, "configuration": {"z": 1}}, "Point cannot be made from {'z': 1}"),
        ({"class": "Reshape", "module": "minidl.layers.shaping", "configuration": {"target_shape": [0]}}, "Reshape"),
        ({"class": "Rescale", "module": "minidl.layers.shaping", "configuration": {"scale": 10**400}}, "Rescale"),
        ({"class": "Initializer", "module": "minidl.initializers", "configuration": {}}, "Initializer cannot be made"),
        ({"class": ["Point"], "module": None, "configuration": {}}, "is not known"),
        ([1, {}], r"not by \[\]"),
    ],
)
def test_a_description_that_fits_no_class_is_refused(data, message):
    with pytest.raises(FileFormatError, match=message):
        decode(data)


def test_plain_data_is_its_own_description():
    assert decode([1, "a", None, [2.5]]) == (1, "a", None, (2.5,))


def test_a_class_saved_by_a_script_is_found_where_it_is_defined_now():
    assert type(decode({"class": "Origin", "module": "__main__", "configuration": {}})) is Origin


def test_a_class_defined_twice_is_known_by_its_module():
    north, south = (type("Pole", (Configurable,), {"__module__": module}) for module in ("north", "south"))
    assert type(decode({"class": "Pole", "module": "north", "configuration": {}})) is north
    assert type(decode({"class": "Pole", "module": "south", "configuration": {}})) is south
    with pytest.raises(FileFormatError, match=r"'Pole' of 'west' is not defined, but \['north', 'south'\]"):
        decode({"class": "Pole", "module": "west", "configuration": {}})


def test_a_file_of_ones_own_loads_whether_or_not_the_package_has_a_class_of_that_name():
    own = type("Scaling", (Configurable,), {"__module__": "my_layers"})
    described = {"class": "Scaling", "module": "__main__", "configuration": {}}
    assert type(decode(described)) is own
    importlib.import_module("minidl.data.augment")  # which has one, too
    assert type(decode(described)) is own
    assert type(decode({**described, "module": "minidl.data.augment.geometric"})).__module__.startswith("minidl.")
    type("Scaling", (Configurable,), {"__module__": "other_layers"})
    with pytest.raises(FileFormatError, match=r"is not defined, but \['my_layers', 'other_layers'\]"):
        decode(described)


def test_a_class_defined_anew_takes_the_place_of_the_older_one():
    older, newer = (type("Cell", (Configurable,), {"__module__": "notebook"}) for _ in range(2))
    assert type(through_json(older())) is newer


def test_objects_of_the_package_are_the_same_only_as_themselves():
    def below(kind):
        return {kind}.union(*map(below, kind.__subclasses__()))

    kinds = {kind for kind in below(Configurable) if kind.__module__.startswith("minidl.")}
    assert len(kinds) > 20
    # A dataclass without eq=False compares field by field, and cannot be in a set.
    assert not [kind for kind in kinds if kind.__eq__ is not object.__eq__ or kind.__hash__ is not object.__hash__]


def settings_of(kinds):
    """Class and field of each setting that is a number or a flag."""
    for kind in kinds:
        fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
        for each in fields:
            if each.init and each.type in {"float", "bool"}:
                yield pytest.param(kind, each, id=f"{kind.__name__}.{each.name}")


PARTS = [
    kind
    for module in (minidl.layers, minidl.losses, minidl.initializers, minidl.regularizers, minidl.blocks)
    for kind in map(vars(module).get, module.__all__)
    if isinstance(kind, type) and issubclass(kind, Configurable)
]
SETTINGS = list(settings_of(PARTS))


def test_there_are_settings_to_look_at():
    assert len(PARTS) > 40
    assert len(SETTINGS) > 20


@pytest.mark.parametrize(("kind", "setting"), SETTINGS)
def test_a_setting_is_checked_where_it_is_written_and_the_error_names_the_class_even_of_a_subclass(kind, setting):
    required = {each.name: 1 for each in dataclasses.fields(kind) if each.init and each.default is dataclasses.MISSING}
    own = type("Own", (kind,), {})
    for wrong in ["no", None, [1.0], *([np.True_, 1] if setting.type == "bool" else [True])]:
        with pytest.raises(ArgumentTypeError, match=f"^Own: {setting.name} is "):
            own(**{**required, setting.name: wrong})
    if setting.type == "float":
        for wrong in (np.nan, -np.inf):
            with pytest.raises(ArgumentError, match=f"^Own: {setting.name} is {wrong}; it must be a finite number"):
                own(**{**required, setting.name: wrong})


def test_reading_imports_nothing_that_a_description_names():
    assert "this" not in sys.modules
    with pytest.raises(FileFormatError):
        decode({"class": "Zen", "module": "this", "configuration": {}})
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: minidl.SGD(0.1, momentum=0.9), "SGD has no argument 'momentum'; there are learning_rate"),
        (lambda: minidl.Adam(learning_rat=0.1), "Adam has no argument 'learning_rat'; did you mean 'learning_rate'"),
        (lambda: minidl.Dense(3, activation="relu"), "Dense has no argument 'activation'; there are units"),
    ],
)
def test_an_argument_that_a_class_does_not_have_is_named_with_those_that_it_has(make, message):
    with pytest.raises(ArgumentTypeError, match=message):
        make()


ANNEALED = {
    "GaussianNoise.standard_deviation": lambda trainer: (trainer.model.layers[0], "standard_deviation"),
    "L2.strength": lambda trainer: (trainer.model.layers[1].regularizer, "strength"),
    "MaxNorm.limit": lambda trainer: (trainer.model.layers[1].constraint, "limit"),
    "ELU.alpha": lambda trainer: (trainer.model.layers[2], "alpha"),
    "SoftmaxCrossEntropy.label_smoothing": lambda trainer: (trainer.model.loss, "label_smoothing"),
    "Momentum.momentum": lambda trainer: (trainer.optimizer, "momentum"),
}


@pytest.mark.parametrize("setting", ANNEALED.values(), ids=ANNEALED)
def test_a_run_whose_settings_a_callback_takes_from_an_array_resumes_to_the_same_bits(setting, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 6)), rng.integers(0, 3, 60)
    values = np.linspace(0.1, 0.37, 6)

    def anneal(trainer):
        owner, name = setting(trainer)
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
