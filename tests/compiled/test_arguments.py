"""What compiled functions are not written for is computed by NumPy: other types and layouts, and parts of one's own."""

import subprocess
import sys

import numpy as np
import pytest
from bits import assert_same_bits

from minidl import (
    SGD,
    Adam,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    MeanSquaredError,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.compiled import is_on, switch

pytest.importorskip("numba")


@pytest.fixture(autouse=True)
def _as_it_was():
    before = is_on()
    yield
    switch(before)


def assert_same_with_and_without(compute):
    """Compare the arrays that it returns by NumPy and by compiled code."""
    results = []
    for on in (False, True):
        switch(on)
        results.append(compute())
    for found, wanted in zip(results[1], results[0], strict=True):
        assert_same_bits(np.asarray(found), np.asarray(wanted))


def trained(make, x, y, optimizer=Adam, **options):
    model = make()
    trainer = Trainer(model, optimizer(0.01), batch_size=options.pop("batch_size", 8), seed=0)
    history = trainer.fit(x, y, epochs=2, progress=False, **options)
    return [model.parameters, *map(np.array, dict(history).values())]


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("kind", [">u2", ">f4", ">i4", "float16", "longdouble", "complex64"])
@pytest.mark.filterwarnings("ignore")
def test_inputs_of_any_type_are_rescaled(kind):
    layer = Rescale(1 / 255, offset=0.5)
    assert_same_with_and_without(lambda: [layer.forward((100 * abs(draw(4, 6))).astype(kind))])


@pytest.mark.parametrize("layer", [Rescale(0.1), ReLU()], ids=repr)
@pytest.mark.parametrize("shape", [(9, 5), (50, 64)])
@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2]])
def test_results_lie_in_memory_as_numpys_do(layer, shape, arrange):
    x, strides = arrange(draw(*shape)), []

    def compute():
        y = layer.forward(x, training=True)
        strides.append((y.strides, layer.backward(x).strides))
        return [y, layer.backward(x)]

    assert_same_with_and_without(compute)
    assert strides[0] == strides[1]


@pytest.mark.parametrize("kind", ["float16", ">f4", "float32", "float64"])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("arrange", [np.ascontiguousarray, np.asfortranarray])
def test_losses_take_scores_of_any_type_and_number_of_rows(kind, rows, arrange):
    for outputs in (2, 8, 130, 1000):
        scores, targets = (arrange(shift + draw(rows, outputs).astype(kind)) for shift in (0, 1))
        assert_same_with_and_without(lambda s=scores: SoftmaxCrossEntropy()(s, np.zeros(rows, np.int32)))
        assert_same_with_and_without(lambda s=scores, t=targets: MeanSquaredError()(s, t))


def perceptron(kind=Sequential, loss=MeanSquaredError):
    return kind([Dense(50), ReLU(), Dense(5), loss()], input_shape=6, seed=0)


class Doubled(Sequential):
    def forward(self, x, training=False):
        return 2 * super().forward(x, training=training)

    def backward(self, dy):
        return super().backward(2 * dy)

    __hash__ = None

    def __eq__(self, other):
        return self is other


def watched(place):
    def make():
        model = perceptron()
        layer = model if place is None else model.layers[place]
        forward = layer.forward
        vars(layer)["forward"] = lambda x, training=False: 2 * forward(x, training=training)
        return model

    return make


@pytest.mark.parametrize(
    "make",
    [lambda: perceptron(Doubled), watched(None), watched(0), watched(1)],
    ids=["class", "model", "dense", "relu"],
)
def test_a_model_or_layer_that_computes_in_its_own_way_does(make):
    wanted = trained(perceptron, draw(40, 6), draw(40, 5))
    assert_same_with_and_without(lambda: trained(make, draw(40, 6), draw(40, 5)))
    assert (trained(make, draw(40, 6), draw(40, 5))[0] != wanted[0]).any()


class InFloat64Error(MeanSquaredError):
    def per_sample(self, scores, targets):
        losses, gradient = super().per_sample(scores, targets)
        return losses, 0.3 * gradient.astype(np.float64)


class PreciseTargetsError(MeanSquaredError):
    def per_sample(self, scores, targets):
        return super().per_sample(scores, 1.1 * targets.astype(np.float64))


class OneTargetError(MeanSquaredError):
    def per_sample(self, scores, targets):
        return super().per_sample(scores, targets[:, :1])


class ByColumnsError(MeanSquaredError):
    def per_sample(self, scores, targets):
        return super().per_sample(np.asfortranarray(scores), np.asfortranarray(targets))


class ApartError(MeanSquaredError):
    def total(self, scores, targets, weights=None, scale=1.0):
        total, gradient = super().total(scores, targets, weights, scale)
        return total, np.repeat(gradient, 2, axis=1)[:, ::2]


@pytest.mark.parametrize("loss", [InFloat64Error, PreciseTargetsError, OneTargetError, ByColumnsError, ApartError])
def test_a_loss_of_ones_own_may_give_what_numpy_takes(loss):
    assert_same_with_and_without(lambda: trained(lambda: perceptron(loss=loss), draw(40, 6), draw(40, 5)))


def test_a_relu_at_the_end_hands_on_its_gradient_as_numpy_arranges_it():
    def make():
        layers = [Dense(33), ReLU(), Dense(5), ReLU(), SoftmaxCrossEntropy()]
        return Sequential(layers, input_shape=64, seed=0)

    assert_same_with_and_without(lambda: trained(make, draw(256, 64), np.arange(256) % 5, batch_size=100))


def test_a_gradient_in_float64_passes_through_layers_of_images():
    class Precise(SoftmaxCrossEntropy):
        def per_sample(self, scores, targets):
            losses, gradient = super().per_sample(scores, targets)
            return losses, gradient.astype(np.float64)

    def make():
        layers = [Conv2D(5, 3, padding="same"), ReLU(), MaxPool2D(2), Conv2D(4, 3), Tanh(), Flatten(), Dense(3)]
        return Sequential([*layers, Precise()], input_shape=(8, 8, 3), seed=0)

    assert_same_with_and_without(lambda: trained(make, draw(30, 8, 8, 3), np.arange(30) % 3))


class WithPreciseGradient(Adam):
    def update(self, p, g, learning_rate, m, v):
        super().update(p, g * np.float64(1.1), learning_rate, m, v)


class WithClippedSteps(Adam):
    def _divide(self, m, v, factor, out):
        return np.clip(super()._divide(m, v, factor, out), -1e-3, 1e-3, out=out)


class WithPreciseRate(SGD):
    def update(self, p, g, learning_rate):
        super().update(p, g, np.float64(learning_rate) * 1.1)


class WithRates(SGD):
    def update(self, p, g, learning_rate):
        super().update(p, g, learning_rate * np.linspace(0, 1, p.size, dtype=p.dtype))


class WithMeans(SGD):
    def update(self, p, g, learning_rate):
        super().update(p, g.mean(keepdims=True), learning_rate)


class WithSigns(SGD):
    def update(self, p, g, learning_rate):
        super().update(p, np.sign(g).astype(int), learning_rate)


class OfMatrices(SGD):
    def update(self, p, g, learning_rate):
        super().update(p.reshape(5, -1), g.reshape(5, -1), learning_rate)


@pytest.mark.parametrize(
    "optimizer",
    [WithPreciseGradient, WithClippedSteps, WithPreciseRate, WithRates, WithMeans, WithSigns, OfMatrices],
)
def test_an_optimizer_of_ones_own_may_pass_on_what_numpy_takes(optimizer):
    assert_same_with_and_without(lambda: trained(perceptron, draw(40, 6), draw(40, 5), optimizer))


def test_modules_that_are_loaded_after_a_fit_call_numpys_functions_when_that_is_asked_for():
    code = """if True:
        import sys
        import numpy as np
        from minidl import Dense, MeanSquaredError, Sequential, Trainer
        from minidl.compiled import switch
        switch(True)
        Trainer(Sequential([Dense(2), MeanSquaredError()]), seed=0).fit(np.eye(2), np.eye(2), progress=False)
        assert "minidl.layers.windows" in sys.modules and "minidl.layers.convolution" not in sys.modules
        from minidl.layers import convolution, pooling, windows
        switch(False)
        called = [windows.convolve, pooling._maxima_and_winners, *vars(convolution).values()]
        assert not [each for each in called if getattr(each, "__module__", "").startswith("minidl.compiled")]
        """
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)
