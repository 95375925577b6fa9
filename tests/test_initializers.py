import math

import numpy as np
import pytest

from minidl import initializers
from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    LeCunNormal,
    Normal,
    Orthogonal,
    Uniform,
    Zeros,
    fans,
    get_initializer,
    is_initializer,
)

NAMES = {
    "constant": Constant,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "lecun_normal": LeCunNormal,
    "normal": Normal,
    "orthogonal": Orthogonal,
    "uniform": Uniform,
    "zeros": Zeros,
}
RANDOM = [kind for kind in NAMES.values() if kind not in (Constant, Zeros)]

MATRIX, WINDOW = (300, 200), (3, 2, 50, 100)
MEAN_AND_VARIANCE = [
    (Normal(), MATRIX, 0, 0.05**2),
    (Normal(mean=2, standard_deviation=3), MATRIX, 2, 9),
    (HeNormal(), MATRIX, 0, 2 / 300),
    (HeNormal(), WINDOW, 0, 2 / (6 * 50)),
    (GlorotNormal(), MATRIX, 0, 2 / 500),
    (GlorotNormal(), WINDOW, 0, 2 / (6 * 150)),
    (LeCunNormal(), MATRIX, 0, 1 / 300),
    (LeCunNormal(), WINDOW, 0, 1 / (6 * 50)),
]
BOUNDS = [
    (Uniform(), MATRIX, -0.5, 0.5),
    (Uniform(low=1, high=4), MATRIX, 1, 4),
    (HeUniform(), MATRIX, -math.sqrt(6 / 300), math.sqrt(6 / 300)),
    (HeUniform(), WINDOW, -math.sqrt(6 / 300), math.sqrt(6 / 300)),
    (GlorotUniform(), MATRIX, -math.sqrt(6 / 500), math.sqrt(6 / 500)),
    (GlorotUniform(), WINDOW, -math.sqrt(6 / 900), math.sqrt(6 / 900)),
]


@pytest.mark.parametrize(("initializer", "shape", "mean", "variance"), MEAN_AND_VARIANCE)
def test_a_normal_initializer_has_the_mean_variance_and_tails_of_its_formula(initializer, shape, mean, variance):
    z = (initializer(shape, 1, np.float64).ravel() - mean) / math.sqrt(variance)
    # Five standard errors each: of the mean, of the variance (2 / n) and of the fraction beyond two deviations.
    n = z.size
    assert abs(z.mean()) < 5 / math.sqrt(n)
    assert abs(z.var() - 1) < 5 * math.sqrt(2 / n)
    beyond = math.erfc(2 / math.sqrt(2))
    assert abs(np.mean(np.abs(z) > 2) - beyond) < 5 * math.sqrt(beyond * (1 - beyond) / n)


@pytest.mark.parametrize(("initializer", "shape", "low", "high"), BOUNDS)
def test_a_uniform_initializer_fills_its_interval_evenly(initializer, shape, low, high):
    values = initializer(shape, 1, np.float64).ravel()
    assert low <= values.min()
    assert values.max() < high
    # 60,000 draws in 20 bins: 3,000 in each, with a standard deviation of 53; five of these, and one draw in a thousand
    # of the interval at either end, which stays empty with probability e^-60.
    counts, _ = np.histogram(values, bins=20, range=(low, high))
    assert np.abs(counts - values.size / 20).max() < 5 * math.sqrt(values.size / 20)
    assert values.min() < low + (high - low) / 1000
    assert values.max() > high - (high - low) / 1000


def test_constants_are_what_they_say():
    np.testing.assert_array_equal(Zeros()((2, 3)), [[0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(Constant(2.5)((3,)), [2.5, 2.5, 2.5])
    np.testing.assert_array_equal(Constant()((3,)), [0, 0, 0])
    assert Constant(1)((2,), dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("shape", [(8, 5), (5, 8), (6, 6), (1, 4), (3, 3, 4, 7), (2, 2, 2, 9)])
@pytest.mark.parametrize(("initializer", "gain"), [(Orthogonal(), 1), (Orthogonal(2.5), 2.5)])
def test_orthogonal_rows_or_columns_have_the_length_of_the_gain_and_right_angles(shape, initializer, gain):
    matrix = initializer(shape, 3, np.float64).reshape(-1, shape[-1])
    rows, columns = matrix.shape
    product = matrix.T @ matrix if rows >= columns else matrix @ matrix.T
    np.testing.assert_allclose(product, gain**2 * np.eye(min(rows, columns)), atol=1e-13)


def test_orthogonal_matrices_point_all_ways_alike():
    rng = np.random.default_rng(0)
    mean = np.mean([Orthogonal()((3, 3), rng) for _ in range(600)], axis=0)
    # An entry has mean 0 and variance 1/3. LAPACK's own choice of signs would put the diagonal's means near -1/2.
    assert np.abs(mean).max() < 5 * math.sqrt(1 / 3 / 600)


@pytest.mark.parametrize("kind", NAMES.values())
def test_the_same_seed_gives_the_same_bits_and_float32_is_float64_rounded(kind):
    first = kind()((6, 4), 7)
    assert first.dtype == np.float32
    assert first.shape == (6, 4)
    assert first.tobytes() == kind()((6, 4), np.random.default_rng(7)).tobytes()
    assert first.tobytes() == kind()((6, 4), 7, dtype=np.float64).astype(np.float32).tobytes()


@pytest.mark.parametrize("kind", RANDOM)
def test_draws_differ_between_seeds_between_calls_and_without_a_seed(kind):
    rng = np.random.default_rng(7)
    draws = [kind()((6, 4), seed) for seed in (7, 8, rng, rng, None, None)]
    assert len({draw.tobytes() for draw in draws}) == 5  # the first draw of `rng` is that of seed 7


def test_fans_count_a_window_into_both():
    assert fans((7, 5)) == (7, 5)
    assert fans((3, 2, 7, 5)) == (42, 30)


@pytest.mark.parametrize("kind", [HeNormal, HeUniform, GlorotNormal, GlorotUniform, LeCunNormal, Orthogonal])
@pytest.mark.parametrize("shape", [(), (5,), 5])
def test_an_initializer_that_scales_by_fans_refuses_a_shape_without_them(kind, shape):
    with pytest.raises(ShapeError, match="fan-in"):
        kind()(shape, 0)


@pytest.mark.parametrize("shape", [(0, 3), [3, 0], -1])
def test_a_shape_without_elements_is_refused(shape):
    with pytest.raises(ArgumentError, match="the sizes of a shape must be 1 or more"):
        HeNormal()(shape, 0)


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_an_initializer_is_known_by_its_name_in_snake_case(name, kind):
    assert type(get_initializer(name)) is kind
    assert get_initializer(name.upper()).configuration() == kind().configuration()


def test_every_initializer_of_the_package_has_a_name():
    kinds = {kind for kind in vars(initializers).values() if isinstance(kind, type) and issubclass(kind, Initializer)}
    assert kinds - {Initializer} == set(NAMES.values())


def test_an_initializer_stands_for_itself():
    initializer = Uniform(low=-1, high=1)
    assert get_initializer(initializer) is initializer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("he_norml", "no initializer is named 'he_norml'; did you mean 'he_normal'"),
        ("qqqq", "no initializer is named 'qqqq'; there are zeros, constant, .*, orthogonal"),
        ("uniform(1, 2)", r"no initializer is named 'uniform\(1, 2\)'"),
        ("", "no initializer is named ''"),
    ],
)
def test_a_name_that_makes_no_initializer_is_refused(text, message):
    with pytest.raises(ArgumentError, match=message):
        get_initializer(text)


def test_the_names_that_an_error_offers_are_those_that_there_are():
    with pytest.raises(ArgumentError) as refusal:
        get_initializer("qqqq")
    assert set(str(refusal.value).partition("there are ")[2].split(", ")) == set(NAMES)


@pytest.mark.parametrize("value", [None, 0.1, HeNormal])
def test_what_is_neither_initializer_nor_name_is_refused(value):
    with pytest.raises(ArgumentTypeError, match="or a name, such as .*, not"):
        get_initializer(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(standard_deviation=-0.1), "standard_deviation is -0.1; it must be a finite number, 0 or more"),
        (lambda: Normal(standard_deviation=math.nan), "standard_deviation is nan"),
        (lambda: Orthogonal(gain=math.nan), "Orthogonal: gain is nan; it must be a finite number"),
        (lambda: Uniform(low=0, high=math.nan), "high is nan; it must be a finite number"),
    ],
)
def test_settings_that_cannot_work_are_refused_where_they_are_written(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_a_uniform_distribution_of_negative_width_is_refused_by_numpy():
    with pytest.raises(ValueError, match="high - low"):
        Uniform(low=1, high=0)((2,), 0)


def test_distributions_of_no_width_are_legal():
    np.testing.assert_array_equal(Normal(mean=1.5, standard_deviation=0)((2,)), [1.5, 1.5])
    np.testing.assert_array_equal(Uniform(low=2, high=2)((2,)), [2, 2])


class Counting(Initializer):
    """A user's own: 0, 1, 2, ..., or the transpose of what it is asked for."""

    transposed: bool = False

    def draw(self, shape, rng):
        values = np.arange(math.prod(shape)).reshape(shape)
        return values.T if self.transposed else values


def test_an_initializer_of_the_users_own_needs_only_draw():
    np.testing.assert_array_equal(Counting()((2, 3)), [[0, 1, 2], [3, 4, 5]])
    assert Counting()((2, 3)).dtype == np.float32
    assert repr(Counting()) == "Counting(transposed=False)"


def test_a_draw_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"Counting\(transposed=True\) was asked for shape \(2, 3\) but drew \(3, 2\)"):
        Counting(transposed=True)((2, 3))


def test_an_initializer_without_draw_cannot_be_made():
    with pytest.raises(TypeError, match="draw"):
        type("Nothing", (Initializer,), {})()


def test_only_what_everybody_gives_by_position_is_given_so():
    assert (Constant(2).value, Orthogonal(3).gain) == (2.0, 3.0)
    for make in (lambda: Normal(0, 1), lambda: Uniform(-1, 1), lambda: HeNormal(1), lambda: Constant(1, 2)):
        with pytest.raises(ArgumentTypeError, match=r"too many positional arguments; it is "):
            make()


def test_a_setting_that_is_changed_is_checked_and_counts_from_the_next_draw_on():
    initializer = Uniform(low=-1, high=1)
    with pytest.raises(ArgumentError, match="Uniform: high is inf; it must be a finite number"):
        initializer.high = math.inf
    initializer.low = np.float32(0.5)
    assert repr(initializer) == "Uniform(low=0.5, high=1.0)"
    assert (initializer((50,), 0) >= 0.5).all()


@pytest.mark.parametrize("value", ["he_normal", Uniform(low=-0.1, high=0.1), HeNormal()])
def test_a_layers_initializer_is_kept_as_it_was_given(value):
    assert is_initializer(value, "Dense: initializer") is value


@pytest.mark.parametrize(("value", "error"), [("he_norml", ArgumentError), (0.1, ArgumentTypeError)])
def test_what_is_no_initializer_of_a_layer_is_refused_with_the_place(value, error):
    with pytest.raises(error, match="^Dense: initializer: (no initializer is named|give an Initializer or)"):
        is_initializer(value, "Dense: initializer")
