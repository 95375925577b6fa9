import inspect

import pytest

from minidl import errors
from minidl.errors import MinidlError, counted, did_you_mean, naming

BUILTINS = {
    errors.ArgumentError: ValueError,
    errors.ArgumentTypeError: TypeError,
    errors.ShapeError: ValueError,
    errors.DataError: ValueError,
    errors.FileFormatError: OSError,
    errors.MissingFileError: FileNotFoundError,
    errors.DivergenceError: ArithmeticError,
    errors.NotReadyError: RuntimeError,
    errors.MissingDependencyError: ImportError,
}


@pytest.mark.parametrize(("error", "builtin"), BUILTINS.items())
def test_each_error_is_caught_as_the_builtin_a_caller_would_expect(error, builtin):
    with pytest.raises(builtin, match="the cure"):
        raise error("the cure")
    assert issubclass(error, MinidlError)


def test_no_error_class_is_left_out_of_the_table_above():
    classes = {item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, Exception)}
    assert classes == {MinidlError, errors.DataWarning, *BUILTINS}


def test_a_file_of_a_wrong_format_is_a_value_error_too():
    assert issubclass(errors.FileFormatError, ValueError)


def test_one_thing_is_counted_in_the_singular_and_others_in_the_plural():
    assert [counted(number, "row") for number in (0, 1, 2, 1000)] == ["0 rows", "1 row", "2 rows", "1,000 rows"]


def test_an_unknown_name_is_answered_with_the_closest_and_all_known_ones():
    assert did_you_mean("he_norml", ["zeros", "he_normal"]) == "did you mean 'he_normal'? there are zeros, he_normal"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("xyz", ["zeros", "he_normal"]),
        ("ftrl", ["sgd", "adam", "lion"]),
        ("nesterov", ["momentum", "rmsprop"]),
        ("kaiming_normal", ["he_normal", "lecun_normal"]),
        ("xavier_uniform", ["he_uniform", "glorot_uniform"]),
        ("val_f1", ["loss", "val_loss"]),
        ("val", ["loss", "val_loss", "val_accuracy"]),
    ],
)
def test_a_name_that_is_nearly_none_is_answered_with_the_known_ones_alone(name, known):
    assert did_you_mean(name, iter(known)) == f"there are {', '.join(known)}"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("val_acuracy", "val_accuracy"),
        ("Val_Loss", "val_loss"),
        ("los", "loss"),
        ("acc", "accuracy"),
        ("val_acc", "val_accuracy"),
    ],
)
def test_a_slip_capitals_and_a_beginning_that_only_one_has_are_nearly_a_name(name, meant):
    assert did_you_mean(name, ["loss", "accuracy", "val_loss", "val_accuracy"]).startswith(f"did you mean {meant!r}? ")


def test_a_name_that_is_known_with_capitals_is_suggested_as_it_is_spelt():
    assert did_you_mean("unit_a", ["units_A", "rate"]).startswith("did you mean 'units_A'? ")


class StrictError(errors.ShapeError, LookupError):
    def __init__(self, expected, given):
        super().__init__(f"{expected}, not {given}")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (errors.DivergenceError("the loss is nan"), errors.DivergenceError, "run 2: the loss is nan"),
        (ValueError("too small"), ValueError, "run 2: too small"),
        (KeyError("units"), KeyError, "'run 2: units'"),
        (OSError(28, "No space left on device"), OSError, "run 2: [Errno 28] No space left on device"),
        (UnicodeDecodeError("utf-8", b"a", 0, 1, "odd"), UnicodeError, "run 2: 'utf-8' codec can't decode"),
        (StrictError((3,), (4,)), errors.ShapeError, "run 2: (3,), not (4,)"),
    ],
)
def test_any_error_gets_the_place_and_keeps_its_class_where_that_is_made_of_a_text(error, kind, text):
    with pytest.raises(kind) as caught, naming("run 2"):
        raise error
    assert type(caught.value) is kind
    assert str(caught.value).startswith(text)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.ShapeError("expects input (3,)"), "layer 2 'b', layer 1 'a' expects input (3,)"),
        (ValueError("too small"), "layer 2 'b', layer 1 'a': too small"),
        (KeyError("units"), "'layer 2 'b', layer 1 'a': units'"),
        (ValueError(), "layer 2 'b', layer 1 'a': "),
    ],
)
def test_places_inside_each_other_are_one_way_down_and_a_sentence_goes_on(error, text):
    inner = errors.located(error, "layer 1 'a'")
    outer = errors.located(inner, "layer 2 'b'")
    assert type(outer) is type(error)
    assert str(outer).replace('"', "'") == text


def test_ctrl_c_is_no_error_of_a_place():
    interrupt = KeyboardInterrupt("by hand")
    with pytest.raises(KeyboardInterrupt) as caught, naming("run 2"):
        raise interrupt
    assert caught.value is interrupt


def test_of_hundreds_of_names_those_are_told_that_fit_into_an_error():
    known = [f"dense_{number}" for number in range(1, 300)]
    told = did_you_mean("dense_29O", known)
    assert len(told) < 250
    assert told == "did you mean 'dense_29'? there are " + ", ".join(known[:20]) + ", ..."
