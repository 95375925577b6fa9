import dataclasses
import enum
import importlib
import json
import sys
from typing import Any

import numpy as np
import pytest

from minidl.errors import ArgumentTypeError, FileFormatError
from minidl.serialization import decode, encode
from minidl.settings import Configurable, setting


class Point(Configurable):
    x: Any = setting(0.0, kw_only=False)
    y: Any = None
    label: str = "P"
    distance: float = dataclasses.field(default=0.0, init=False)


class Limited(Configurable):
    size: int = setting(kw_only=False, low=1, whole=True)


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


def test_a_description_names_class_module_and_settings():
    assert encode(Point(1, y=[Origin()])) == {
        "class": "Point",
        "module": __name__,
        "configuration": {
            "x": 1,
            "y": [{"class": "Origin", "module": __name__, "configuration": {}}],
            "label": "P",
        },
    }


def test_what_was_set_last_is_what_is_described():
    point = Point(1)
    point.label, point.distance = "Q", 5.0
    again = through_json(point)
    assert (again.x, again.label, again.distance) == (1, "Q", 0.0)


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
        ([np.float32(0.5), np.int8(3)], (0.5, 3)),
        (Colour.RED, 1),
    ],
)
def test_numpy_numbers_and_lists_come_back_as_plain_numbers_and_tuples(value, plain):
    again = through_json(Point(value)).x
    assert again == plain
    assert type(again) is type(plain)
    assert not isinstance(again, tuple) or [type(each) for each in again] == [type(each) for each in plain]


def test_objects_within_objects_come_back_as_objects():
    again = through_json(Point(Point(1.0, y="inner"), y=[Origin(), Square(3)]))
    assert (again.x.x, again.x.y) == (1.0, "inner")
    assert type(again.y[0]) is Origin
    assert type(again.y[1]) is Square
    assert again.y[1].side == 3


@pytest.mark.parametrize("value", [np.zeros(2), {"a": 1}, print, object(), {1}, 1j, np.complex64(1), b"bytes"])
def test_what_json_cannot_hold_is_refused_with_its_place(value):
    with pytest.raises(ArgumentTypeError, match=r"^Point\.y\[1\]\[0\] = .* cannot be saved: give numbers, text"):
        encode(Point(Origin(), y=[1, (value,)]))


def test_a_function_that_cannot_be_saved_is_answered_with_the_cure():
    def rate(step):
        return 0.1

    with pytest.raises(ArgumentTypeError, match="Point.x = <function .*; write the function as a class derived"):
        encode(Point(rate))


@pytest.mark.parametrize("shape", [Circle(2.0), Disc(2.0)])
def test_a_class_with_an_init_of_its_own_has_to_declare_its_settings(shape):
    with pytest.raises(ArgumentTypeError, match=f"{type(shape).__name__} .*: declare its settings as fields"):
        encode(shape)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"class": "Point"}, r"not by \['class'\]"),
        ({"class": "Point", "module": "m", "configuration": {}, "more": 1}, "more"),
        ({"class": "Point", "module": __name__, "configuration": []}, "is described by class, module"),
        (
            {"class": "Nowhere", "module": "planets", "configuration": {}},
            "'Nowhere' is not known: import .*'planets'",
        ),
        (
            {"class": "Point", "module": __name__, "configuration": {"z": 1}},
            "Point cannot be made from {'z': 1}: Point",
        ),
        ({"class": "Point", "module": __name__, "configuration": {"distance": 1}}, "Point has no setting 'distance'"),
        (
            {"class": "Limited", "module": __name__, "configuration": {"size": 0}},
            "Limited: size is 0; it must be a whole",
        ),
        ({"class": "Limited", "module": __name__, "configuration": {"size": "3"}}, "Limited: size is '3'"),
        ({"class": "Limited", "module": __name__, "configuration": {}}, "Limited cannot be made from {}: .*'size'"),
        ({"class": "Reshape", "module": "minidl.layers.shaping", "configuration": {"target_shape": [0]}}, "Reshape"),
        ({"class": "Rescale", "module": "minidl.layers.shaping", "configuration": {"scale": 10**400}}, "Rescale"),
        ({"class": "Initializer", "module": "minidl.initializers", "configuration": {}}, "Initializer cannot be made"),
        ({"class": "Schedule", "module": "minidl.schedules", "configuration": {}}, "Schedule cannot be made"),
        ({"class": ["Point"], "module": None, "configuration": {}}, "is not known"),
        ([1, {}], r"not by \[\]"),
    ],
)
def test_a_description_that_fits_no_class_is_refused(data, message):
    with pytest.raises(FileFormatError, match=message):
        decode(data)


def test_a_setting_that_an_older_description_lacks_has_its_default():
    description = encode(Point(1.5, label="A"))
    del description["configuration"]["label"]
    assert decode(description).label == "P"


def test_plain_data_is_its_own_description():
    assert decode([1, "a", None, [2.5]]) == (1, "a", None, (2.5,))


def test_a_class_saved_by_a_script_is_found_where_it_is_defined_now():
    own = type("DefinedOnlyHere", (Configurable,), {})
    assert type(decode({"class": "DefinedOnlyHere", "module": "__main__", "configuration": {}})) is own


def test_a_class_defined_twice_is_known_by_its_module():
    north, south = (type("Pole", (Configurable,), {"__module__": module}) for module in ("north", "south"))
    assert type(decode({"class": "Pole", "module": "north", "configuration": {}})) is north
    assert type(decode({"class": "Pole", "module": "south", "configuration": {}})) is south
    with pytest.raises(FileFormatError, match=r"'Pole' is not known: .*'west', and \['north', 'south'\] have one"):
        decode({"class": "Pole", "module": "west", "configuration": {}})


def test_a_file_of_ones_own_loads_whether_or_not_the_package_has_a_class_of_that_name():
    own = type("Scaling", (Configurable,), {"__module__": "my_layers"})
    described = {"class": "Scaling", "module": "__main__", "configuration": {}}
    assert type(decode(described)) is own
    importlib.import_module("minidl.data.augment")  # which has one, too
    assert type(decode(described)) is own
    assert type(decode({**described, "module": "minidl.data.augment.geometric"})).__module__.startswith("minidl.")
    type("Scaling", (Configurable,), {"__module__": "other_layers"})
    with pytest.raises(FileFormatError, match=r"and \['my_layers', 'other_layers'\] have one"):
        decode(described)


def test_a_class_defined_anew_takes_the_place_of_the_older_one():
    older, newer = (type("Cell", (Configurable,), {"__module__": "notebook"}) for _ in range(2))
    assert type(through_json(older())) is newer


def test_reading_imports_nothing_that_a_description_names():
    assert "this" not in sys.modules
    with pytest.raises(FileFormatError):
        decode({"class": "Zen", "module": "this", "configuration": {}})
    assert "this" not in sys.modules
