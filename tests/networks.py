"""Random networks for hypothesis: stacks of layers that fit each other, a loss, and data for both."""

import copy

import numpy as np
from hypothesis import strategies as st

from minidl import (
    ELU,
    GELU,
    SELU,
    AveragePool2D,
    BatchNorm,
    CategoricalLoss,
    Concatenate,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    GlobalMaxPool2D,
    Huber,
    KLDivergence,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
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
    UpSample2D,
    ZeroPad2D,
)


class Problem:
    """A model with a loss, and a batch for it."""

    def __init__(self, model, x, targets):
        self.model, self.x, self.targets = model, x, targets

    def __repr__(self):
        return f"Problem({self.model!r} of {self.model.dtype}, x={self.x!r}, targets={self.targets!r})"


@st.composite
def problems(
    draw, dtype="float64", losses=(SoftmaxCrossEntropy, SigmoidCrossEntropy, MeanSquaredError), of_images=False
):
    """Draw a built model with a loss of one of `losses`, biases that are not zero, and a batch of 1 to 12 rows.

    Networks of images begin with a convolution; others may have layers of images, too, where shapes allow it.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    sizes = st.tuples(*3 * [st.integers(2, 6)]) if of_images else st.lists(st.integers(1, 4), min_size=1, max_size=3)
    input_shape = shape = tuple(draw(sizes, label="input shape"))
    layers = []
    for index in range(draw(st.integers(int(of_images), 6))):
        layers.append(draw(convolution_for(shape) if of_images and index == 0 else layer_for(shape)))
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
    """Draw a layer that takes samples of `shape`; every second one is Dense, or one of images."""
    if len(shape) == 3 and draw(st.booleans()):
        return draw(st.one_of(convolution_for(shape), image_layer_for(shape)))
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


@st.composite
def windows_for(draw, shape):
    """Draw a window that fits into images of `shape`, its steps and its padding."""
    size = tuple(draw(st.integers(1, min(side, 3))) for side in shape[:2])
    margins = st.tuples(*(st.tuples(st.integers(0, side - 1), st.integers(0, side - 1)) for side in size))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return size, {"strides": strides, "padding": draw(st.sampled_from(["valid", "same"]) | margins)}


@st.composite
def convolution_for(draw, shape):
    """Draw a convolution that takes images of `shape`, of at most 6 filters."""
    size, options = draw(windows_for(shape))
    options["use_bias"] = draw(st.booleans())
    dilations = (st.integers(1, 2 if 2 * side - 1 <= whole else 1) for side, whole in zip(size, shape, strict=False))
    options["dilation"] = draw(st.tuples(*dilations))
    kind = draw(st.sampled_from(["plain", "grouped", "depthwise", "transposed"]))
    if kind == "depthwise" and shape[2] <= 4:
        return DepthwiseConv2D(size, multiplier=draw(st.integers(1, 2)), **options)
    if kind == "transposed" and max(shape[:2]) <= 4:
        if options["padding"] != "valid":  # which might cut off all
            options["padding"] = "same"
        return Conv2DTranspose(draw(st.integers(1, 4)), size, **options)
    groups = draw(st.sampled_from([n for n in (1, 2, 3) if shape[2] % n == 0])) if kind == "grouped" else 1
    return Conv2D(groups * draw(st.integers(1, 2 if groups > 1 else 4)), size, groups=groups, **options)


@st.composite
def image_layer_for(draw, shape):
    """Draw a layer that takes images of `shape` and is no convolution itself."""
    size, options = draw(windows_for(shape))
    around = {"strides": (1, 1), "padding": "same"}
    layers = [
        MaxPool2D(size, **options),
        AveragePool2D(size, **options),
        GlobalAveragePool2D(),
        GlobalMaxPool2D(),
        Residual([Conv2D(3, 3, strides=options["strides"], padding="same"), Tanh()]),
        Concatenate([MaxPool2D(size, **around), [Conv2D(2, size, **around), Tanh()]]),
    ]
    if max(shape[:2]) <= 4:
        layers += [UpSample2D((2, 1)), ZeroPad2D(((0, 1), (2, 0)))]
    return draw(st.sampled_from(layers))


between_dense = st.sampled_from(
    [
        [],
        [ReLU()],
        [BatchNorm(), ReLU(), Dropout(0.2)],
        [ReLU(), BatchNorm(momentum=0.5)],
        [ReLU(), Dropout(0.5), BatchNorm(epsilon=0.1), Dropout(0.01)],
    ]
)
"""Layers that may stand between two dense ones in a chain that compiled code computes in one call."""
