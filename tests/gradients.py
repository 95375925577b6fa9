"""Gradients by numbers: the oracle that every backward pass and every loss has to agree with.

It knows forward passes only, and nothing of how the package differentiates.
"""

import numpy as np

# A central difference of step h is off by h^2 f''' / 6 through its curvature and by about 1e-16 f / h through rounding.
# For functions of order 1 to 10, as here, h = 1e-5 keeps both below 1e-9.
STEP = 1e-5
RELATIVE, ABSOLUTE = 1e-6, 1e-9


def numeric_gradient(function, values):
    """The gradient of the number `function()` by the float64 array `values`, which it looks at."""
    gradient = np.empty_like(values)
    for place in np.ndindex(values.shape):
        original = values[place]
        values[place] = original + STEP
        above = function()
        values[place] = original - STEP
        below = function()
        values[place] = original
        gradient[place] = (above - below) / (2 * STEP)
    return gradient


def assert_same_gradient(analytic, numeric, what):
    assert analytic.dtype == np.float64, f"{what} is {analytic.dtype} in a float64 computation"
    np.testing.assert_allclose(analytic, numeric, rtol=RELATIVE, atol=ABSOLUTE, err_msg=what)


def check_layer_gradients(layer, x, seed=0):
    """Set `layer` up in float64 for the batch `x`, and hold its backward pass against numbers.

    The upstream gradient is random, and so are the parameters: also those that an initializer leaves at zero.
    """
    rng = np.random.default_rng(seed)
    x = np.array(x, dtype=np.float64)
    layer.set_up(x.shape[1:], rng, dtype="float64")
    parameters = layer.named_parameters()
    for parameter in parameters.values():
        parameter.value += rng.normal(size=parameter.value.shape)
        parameter.gradient[...] = np.nan  # backward overwrites: nothing of an older gradient may remain

    # Also those generators that a layer draws from are put back, so that it draws the same numbers each time.
    states = [(each, each.bit_generator.state) for each in layer.named_generators().values()]

    def forward():
        for generator, state in states:
            generator.bit_generator.state = state
        return layer.forward(x, training=True)

    upstream = rng.normal(size=forward().shape)
    given = upstream.copy()
    analytic = {"x": np.array(layer.backward(upstream))}
    analytic |= {name: parameter.gradient.copy() for name, parameter in parameters.items()}
    np.testing.assert_array_equal(upstream, given, err_msg="backward changed dy")

    def objective():
        return np.sum(forward() * upstream)

    for name, values in ({"x": x} | {name: parameter.value for name, parameter in parameters.items()}).items():
        assert_same_gradient(analytic[name], numeric_gradient(objective, values), f"gradient by {name}")


def check_loss_gradient(loss, scores, targets, sample_weight=None):
    """Hold the gradient that `loss` returns against numbers from the value that it returns."""
    scores = np.array(scores, dtype=np.float64)
    _, analytic = loss(scores, targets, sample_weight)
    numeric = numeric_gradient(lambda: loss(scores, targets, sample_weight)[0], scores)
    assert_same_gradient(analytic, numeric, f"gradient of {loss!r} by the scores")
