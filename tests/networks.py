"""Random networks for hypothesis: stacks of layers that fit each other, a loss, and data for both."""

import copy

import numpy as np
from hypothesis import strategies as st

from minidl import (
    ELU,
    GELU,
    SELU,
    CategoricalLoss,
    Concatenate,
    Dense,
    Flatten,
    Huber,
    KLDivergence,
    LayerNorm,
    LeakyReLU,
    MeanSquaredError,
    Poisson,
    PReLU,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SigmoidCrossEntropy,
    SiLU,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
    Tanh,
)


class Problem:
    """A model with a loss, and a batch for it."""

    def __init__(self, model, x, targets):
        self.model, self.x, self.targets = model, x, targets

    def __repr__(self):
        return f"Problem({self.model!r} of {self.model.dtype}, x={self.x!r}, targets={self.targets!r})"


@st.composite
def problems(draw, dtype="float64", losses=(SoftmaxCrossEntropy, SigmoidCrossEntropy, MeanSquaredError)):
    """Draw a built model with a loss of one of `losses`, biases that are not zero, and a batch of 1 to 12 rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    input_shape = shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3), label="input shape"))
    layers = []
    for _ in range(draw(st.integers(0, 6))):
        layers.append(draw(layer_for(shape)))
        shape = copy.deepcopy(layers[-1]).set_up(shape, rng)
    if len(shape) > 1:
        layers.append(Flatten())
    loss = draw(st.sampled_from(losses))()
    least = 2 if isinstance(loss, CategoricalLoss) else 1
    layers.append(Dense(draw(st.integers(least, 5), label="outputs")))
    if draw(st.booleans(), label="nested"):
        start = draw(st.integers(0, len(layers) - 1))
        stop = draw(st.integers(start + 1, len(layers)))
        layers[start:stop] = [Sequential(layers[start:stop])]

    model = Sequential([*layers, loss], input_shape=input_shape, seed=0, dtype=dtype)
    model.parameters += rng.normal(scale=0.3, size=model.parameters.size)
    rows = draw(st.integers(1, 12), label="rows")
    outputs = (rows, *model.output_shape)
    targets = {
        SoftmaxCrossEntropy: lambda: rng.integers(outputs[1], size=rows),
        KLDivergence: lambda: rng.dirichlet(np.ones(outputs[1]), size=rows).astype(dtype),
        SigmoidCrossEntropy: lambda: rng.integers(2, size=outputs).astype(dtype),
        MeanSquaredError: lambda: rng.normal(size=outputs).astype(dtype),
        Huber: lambda: rng.normal(size=outputs).astype(dtype),
        Poisson: lambda: rng.poisson(2, size=outputs).astype(dtype),
    }
    return Problem(model, rng.normal(size=(rows, *input_shape)).astype(dtype), targets[type(loss)]())


smooth_layers = st.sampled_from([ELU(), SELU(), GELU(), GELU(approximate=True), SiLU(), Softplus()]).map(copy.deepcopy)
blocks = st.sampled_from(
    [Residual([PReLU(), Tanh()]), Residual(LayerNorm(epsilon=1.0)), Concatenate([PReLU(), [Tanh(), ELU(0.5)]])]
).map(copy.deepcopy)


@st.composite
def layer_for(draw, shape):
    """Draw a layer that takes samples of `shape`; every second one is Dense."""
    if draw(st.booleans()):
        return Dense(draw(st.integers(1, 6)), use_bias=draw(st.booleans()))
    if draw(st.integers(0, 5)) == 0:
        return draw(blocks)
    first = draw(st.sampled_from([size for size in range(1, 5) if np.prod(shape) % size == 0]))
    return draw(
        st.sampled_from(
            [
                ReLU(),
                LeakyReLU(draw(st.sampled_from([0.0, 0.01, 0.3]))),
                Sigmoid(),
                Tanh(),
                Softmax(),
                draw(smooth_layers),
                LayerNorm(epsilon=0.5),
                Rescale(0.5, offset=draw(st.sampled_from([0.0, -1.5]))),
                Flatten(),
                Reshape((first, -1)),
            ]
        )
    )
