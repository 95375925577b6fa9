"""Stacks of recurrent layers that hypothesis draws, beside PyTorch where that is installed."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import GRU, LSTM, Bidirectional, SimpleRNN

torch = pytest.importorskip("torch")
SCRIPT = runpy.run_path(str(Path(__file__).parent / "make_references.py"))

# Rounding is 1e-16; three layers of ten steps amplify it by less than 1e5.
CLOSE = {"rtol": 1e-10, "atol": 1e-11}


@st.composite
def stacks(draw):
    """Layers of which all but the last put out sequences, and perhaps the last; each perhaps both ways."""
    layers = []
    for place in range(count := draw(st.integers(1, 3))):
        kind = draw(st.sampled_from([SimpleRNN, GRU, LSTM]))
        options = {"activation": draw(st.sampled_from(["tanh", "relu"]))} if kind is SimpleRNN else {}
        returns = place < count - 1 or draw(st.booleans())
        layer = kind(draw(st.integers(1, 5)), return_sequences=returns, **options)
        merge = draw(st.sampled_from([None, "concatenate", "sum", "mean"]))
        layers.append(layer if merge is None else Bidirectional(layer, merge=merge))
    return layers


def run_by_torch(layer, x, lengths, variables):
    one = layer.layer if isinstance(layer, Bidirectional) else layer
    described = {"units": one.units} | ({"activation": one.activation} if isinstance(one, SimpleRNN) else {})
    merge = getattr(layer, "merge", None)
    y, last = SCRIPT["run_recurrent"](type(one).__name__, described, x, variables, lengths, merge)
    return y if one.return_sequences else last


@settings(max_examples=100, deadline=None)
@given(layers=stacks(), lengths=st.lists(st.integers(1, 10), min_size=1, max_size=4), seed=st.integers(0, 2**32 - 1))
def test_a_stack_over_padded_sequences_computes_what_pytorch_does(layers, lengths, seed):
    rng, time = np.random.default_rng(seed), max(lengths)
    x, mask = rng.normal(size=(len(lengths), time, 2)), np.arange(time) < np.array(lengths)[:, np.newaxis]
    y, mask_of_y = x, mask
    given_x = wanted = torch.tensor(x, requires_grad=True)
    variables = []
    for layer in layers:
        layer.set_up(y.shape[1:], rng, dtype="float64")
        for parameter in layer.named_parameters().values():
            parameter.value += 0.3 * rng.normal(size=parameter.value.shape)
        own = {
            name: torch.tensor(parameter.value, requires_grad=True)
            for name, parameter in layer.named_parameters().items()
        }
        variables.append(own)
        before, y = y, layer.forward(y, training=True, mask=mask_of_y)
        mask_of_y = layer.mask_after(before, mask_of_y)
        wanted = run_by_torch(layer, wanted, lengths, own)
    counts = np.ones(y.shape, bool) if mask_of_y is None else np.broadcast_to(mask_of_y[..., np.newaxis], y.shape)
    np.testing.assert_allclose(y[counts], wanted.detach().numpy()[counts], **CLOSE)
    dy = rng.normal(size=y.shape) * counts
    wanted.backward(torch.tensor(dy))
    for layer in reversed(layers):
        dy = layer.backward(dy)
    np.testing.assert_allclose(dy, given_x.grad.numpy(), **CLOSE)
    for layer, own in zip(layers, variables, strict=True):
        for name, parameter in layer.named_parameters().items():
            np.testing.assert_allclose(parameter.gradient, own[name].grad.numpy(), **CLOSE, err_msg=name)
