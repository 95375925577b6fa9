"""minidl beside PyTorch, where that is installed, on networks that hypothesis draws."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from networks import problems
from stacks import draw_stack

from minidl import (
    SGD,
    Adam,
    AdamW,
    AMSGrad,
    AveragePool1D,
    Bidirectional,
    Concatenate,
    Conv1D,
    Embedding,
    Huber,
    KLDivergence,
    Lookahead,
    Masking,
    MaxPool1D,
    MeanSquaredError,
    Momentum,
    MultiHeadAttention,
    NAdam,
    Poisson,
    Residual,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    TiedEmbedding,
)

torch = pytest.importorskip("torch")
F = torch.nn.functional
SCRIPT = runpy.run_path(str(Path(__file__).parent / "make_references.py"))

# Rounding is 1e-16; a network of at most eight layers of width 64, and Adam's division by gradients that may be as
# small as its epsilon 1e-8, amplify it by less than 1e7.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}

LAYERS = {
    "ReLU": lambda layer, x, _: torch.relu(x),
    "LeakyReLU": lambda layer, x, _: F.leaky_relu(x, layer.negative_slope),
    "Sigmoid": lambda layer, x, _: torch.sigmoid(x),
    "Tanh": lambda layer, x, _: torch.tanh(x),
    "Softmax": lambda layer, x, _: torch.softmax(x, -1),
    "PReLU": lambda _, x, parameters: torch.where(x > 0, x, parameters["slope"] * x),
    "ELU": lambda layer, x, _: F.elu(x, layer.alpha),
    "SELU": lambda layer, x, _: F.selu(x),
    "GELU": lambda layer, x, _: F.gelu(x, approximate="tanh" if layer.approximate else "none"),
    "SiLU": lambda layer, x, _: F.silu(x),
    "Softplus": lambda layer, x, _: F.softplus(x, threshold=709),
    "LayerNorm": lambda layer, x, parameters: F.layer_norm(
        x, x.shape[-1:], parameters["scale"], parameters["shift"], layer.epsilon
    ),
    "Rescale": lambda layer, x, _: layer.scale * x + layer.offset,
    "Flatten": lambda layer, x, _: torch.flatten(x, 1),
    "Reshape": lambda layer, x, _: x.reshape(len(x), *layer.target_shape),
    "Dense": lambda layer, x, parameters: F.linear(x, parameters["weight"].T, parameters.get("bias")),
    **SCRIPT["IMAGE_LAYERS"],
    **SCRIPT["WINDOWS_OF_SEQUENCES"],
}
LOSSES = {
    "SoftmaxCrossEntropy": lambda loss, s, t: F.cross_entropy(s, t, label_smoothing=loss.label_smoothing),
    "KLDivergence": lambda _, s, t: F.kl_div(F.log_softmax(s, 1), t, reduction="batchmean"),
    "SigmoidCrossEntropy": lambda _, s, t: F.binary_cross_entropy_with_logits(s, t),
    "MeanSquaredError": lambda _, s, t: F.mse_loss(s, t),
    "Huber": lambda loss, s, t: F.huber_loss(s, t, delta=loss.delta),
    "Poisson": lambda _, s, t: F.poisson_nll_loss(s, t),
}
DRAWN_LOSSES = (
    SoftmaxCrossEntropy,
    lambda: SoftmaxCrossEntropy(label_smoothing=0.2),
    KLDivergence,
    SigmoidCrossEntropy,
    MeanSquaredError,
    lambda: Huber(delta=0.7),
    Poisson,
)
OPTIMIZERS = [
    (lambda: SGD(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    (lambda: Momentum(0.02, momentum=0.8), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8)),
    (
        lambda: Momentum(0.02, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    ),
    (lambda: Adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-8)),
    (
        lambda: Adam(0.003, beta1=0.7, beta2=0.95, epsilon=1e-4),
        lambda p: torch.optim.Adam(p, lr=0.003, betas=(0.7, 0.95), eps=1e-4),
    ),
]


def forward_in_torch(model, x, parameters):
    """Compute the scores of `model` in PyTorch with parameters by path."""
    for layer in model.layers:
        x = layer_in_torch(layer, x, within(layer.name, parameters))
    return x


def layer_in_torch(layer, x, parameters):
    if isinstance(layer, Sequential):
        return forward_in_torch(layer, x, parameters)
    if isinstance(layer, Residual | Concatenate):
        inner = layer.sublayers()
        outputs = [layer_in_torch(branch, x, within(name, parameters)) for name, branch in inner.items()]
        if isinstance(layer, Residual):
            return outputs[0] + (outputs[1] if layer.projection else x)
        return torch.cat(outputs, -1)
    return LAYERS[type(layer).__name__](layer, x, parameters)


def within(name, parameters):
    return {path.removeprefix(f"{name}/"): p for path, p in parameters.items() if path.startswith(f"{name}/")}


@given(problem=problems(losses=DRAWN_LOSSES), optimizers=st.sampled_from(OPTIMIZERS))
@settings(max_examples=200, derandomize=True)
def test_scores_loss_gradients_and_steps_agree_with_pytorch(problem, optimizers):
    assert_same_steps(problem, optimizers)


@given(problem=problems(losses=DRAWN_LOSSES, of_images=True), optimizers=st.sampled_from(OPTIMIZERS))
@settings(max_examples=100, derandomize=True)
def test_networks_with_convolutions_agree_with_pytorch(problem, optimizers):
    assert_same_steps(problem, optimizers)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_stacks_of_sequence_layers_agree_with_pytorch_on_padded_rows(seed):
    rng = np.random.default_rng(seed)
    model, inputs, targets = draw_stack(rng)
    note(repr(model))
    is_of_features = inputs.dtype == np.float64  # ids have no gradient
    model.needs_input_gradient = is_of_features
    counts = model.mask_after(inputs, None)
    named = model.named_parameters()
    for parameter in named.values():
        parameter.value += 0.1 * rng.normal(size=parameter.value.shape)
    parameters = {path: torch.tensor(p.value, requires_grad=True) for path, p in named.items()}

    x = torch.tensor(inputs, requires_grad=is_of_features)
    their_scores, their_counts = stack_in_torch(model, x, None, parameters)
    losses = F.cross_entropy(their_scores.flatten(0, -2), torch.tensor(targets).flatten(), reduction="none")
    weights = torch.ones_like(losses) if counts is None else torch.tensor(counts).flatten() * 1.0
    their_loss = (losses * weights).sum() / weights.sum()
    their_loss.backward()

    scores = model.forward(inputs, training=True)
    loss, dscores = model.loss(scores, targets, None if counts is None else counts.astype(float))
    dx = model.backward(dscores)
    assert (counts is None) == (their_counts is None)
    np.testing.assert_array_equal(counts, their_counts)
    if is_of_features:
        np.testing.assert_allclose(dx, x.grad, **CLOSE, err_msg="x")
    there = slice(None) if counts is None else counts
    np.testing.assert_allclose(scores[there], their_scores.detach().numpy()[there], **CLOSE)
    np.testing.assert_allclose(loss, their_loss.item(), **CLOSE)
    for path, parameter in parameters.items():
        expected = 0 if parameter.grad is None else parameter.grad
        np.testing.assert_allclose(named[path].gradient, expected, **CLOSE, err_msg=path)


def stack_in_torch(layer, x, mask, parameters):
    """Return output and mask of a layer of sequences, or of ids; the mask says which positions count.

    Positions that do not count are at the end of a row, or, after a layer that goes backwards, at its start.
    """
    if isinstance(layer, Sequential):
        for inner in layer.layers:
            x, mask = stack_in_torch(inner, x, mask, within(inner.name, parameters))
        return x, mask
    if isinstance(layer, Residual | Concatenate):
        inner = layer.sublayers().items()
        made = [stack_in_torch(each, x, mask, within(name, parameters))[0] for name, each in inner]
        return x + made[0] if isinstance(layer, Residual) else torch.cat(made, -1), mask
    if isinstance(layer, TiedEmbedding):
        own = within("embedding", parameters)
        h, mask = stack_in_torch(layer.embedding, x, mask, own)
        h, mask = stack_in_torch(layer.layers, h, mask, within("layers", parameters))
        return F.linear(h, own["weight"], parameters.get("bias")), mask
    y = SEQUENCE_LAYERS.get(type(layer).__name__, lambda layer, x, _, own: LAYERS[type(layer).__name__](layer, x, own))
    y = y(layer, x, mask, parameters)
    if isinstance(layer, Embedding):
        mask = None if layer.padding_id is None else x != layer.padding_id
    elif isinstance(layer, Masking):
        mask = (x != layer.padding_value).any(-1)
    elif mask is not None and isinstance(layer, Conv1D | MaxPool1D | AveragePool1D):
        mask = mask_of_windows(layer, mask, y.shape[1])
    elif mask is not None and getattr(layer, "go_backwards", False):
        mask = mask.flip(1)
    return y, mask if y.ndim > 2 else None


def mask_of_windows(layer, mask, places):
    """Return for each row the windows that it has alone, without its padding."""
    size = getattr(layer, "kernel_size", None) or layer.pool_size
    span, stride = getattr(layer, "dilation", 1) * (size - 1) + 1, layer.strides or size
    lengths = mask.sum(1).tolist()
    counts = [(n + sum(SCRIPT["sides_of"](n, size, layer)) - span) // stride + 1 for n in lengths]
    return torch.arange(places) < torch.tensor(counts)[:, None]


def recurrent_in_torch(layer, x, mask, parameters):
    kind, settings, merge = type(layer).__name__, vars(layer), {}
    if isinstance(layer, Bidirectional):
        kind, settings, merge = type(layer.layer).__name__, vars(layer.layer), {"merge": layer.merge}
    if settings["go_backwards"]:
        x, mask = x.flip(1), None if mask is None else mask.flip(1)
    mask = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    # PyTorch wants the padding at the end: the positions that count come first, then they are put back.
    order = torch.argsort((~mask).int(), dim=1, stable=True)
    x = torch.take_along_dim(x, order[..., None], 1)
    y, last = SCRIPT["run_recurrent"](kind, settings, x, parameters, mask.sum(1), **merge)
    return torch.take_along_dim(y, order.argsort(1)[..., None], 1) if settings["return_sequences"] else last


def attention_in_torch(layer, x, mask, parameters):
    attend = SCRIPT["rotary_attention" if layer.rotary else "multihead_attention"]
    return attend(vars(layer), None if mask is None else ~mask, x, **parameters)[0]


def counting(x, mask):
    """Return which numbers count, (N, T, 1)."""
    return torch.ones(*x.shape[:2], 1, dtype=torch.bool) if mask is None else mask[..., None]


def maxima_of_counting(layer, x, mask, own):
    y = LAYERS["MaxPool1D"](layer, x.masked_fill(~counting(x, mask), -torch.inf), own)
    return torch.where(y.isinf(), 0, y)  # a window with only padding


def means_of_counting(layer, x, mask, own):
    counts = counting(x, mask).to(x.dtype)
    shares = LAYERS["AveragePool1D"](layer, counts, own)
    return LAYERS["AveragePool1D"](layer, x * counts, own) / torch.where(shares > 0, shares, 1)


SEQUENCE_LAYERS = {
    "Masking": lambda layer, x, mask, own: x,
    "Embedding": lambda layer, x, mask, own: F.embedding(x, own["weight"]),
    "PositionEmbedding": lambda layer, x, mask, own: x + own["weight"],
    "PositionalEncoding": lambda layer, x, mask, own: x + SCRIPT["sinusoids"](*x.shape[1:]),
    "MultiHeadAttention": attention_in_torch,
    **dict.fromkeys(("SimpleRNN", "GRU", "LSTM", "Bidirectional"), recurrent_in_torch),
    "Conv1D": lambda layer, x, mask, own: LAYERS["Conv1D"](layer, x * counting(x, mask), own),
    "MaxPool1D": maxima_of_counting,
    "AveragePool1D": means_of_counting,
    "GlobalMaxPool1D": lambda layer, x, mask, own: x.masked_fill(~counting(x, mask), -torch.inf).amax(1),
    "GlobalAveragePool1D": lambda layer, x, mask, own: (x * counting(x, mask)).sum(1) / counting(x, mask).sum(1),
}


def assert_same_steps(problem, optimizers):
    """Compare scores, loss and gradients of three steps, and the parameters after each."""
    model, optimizer = problem.model, optimizers[0]()
    model.needs_input_gradient = True
    named = model.named_parameters()
    x, targets = torch.tensor(problem.x, requires_grad=True), torch.tensor(problem.targets)
    parameters = {path: torch.tensor(p.value, requires_grad=True) for path, p in named.items()}
    their_optimizer = optimizers[1](parameters.values())

    for step in range(3):
        x.grad = None
        their_optimizer.zero_grad()
        their_scores = forward_in_torch(model, x, parameters)
        their_loss = LOSSES[type(model.loss).__name__](model.loss, their_scores, targets)
        their_loss.backward()
        assume(their_loss < 1e3)  # a run that diverges multiplies its rounding errors without limit

        scores = model.forward(problem.x, training=True)
        loss, dscores = model.loss(scores, problem.targets)
        dx = model.backward(dscores)

        where = f"at step {step}"
        np.testing.assert_allclose(scores, their_scores.detach(), **CLOSE, err_msg=f"scores {where}")
        np.testing.assert_allclose(loss, their_loss.item(), **CLOSE, err_msg=f"loss {where}")
        np.testing.assert_allclose(dx, x.grad, **CLOSE, err_msg=f"gradient by x {where}")
        for path, parameter in parameters.items():
            np.testing.assert_allclose(named[path].gradient, parameter.grad, **CLOSE, err_msg=f"{path} {where}")

        optimizer.apply(model.parameters, model.gradients)
        their_optimizer.step()
        for path, parameter in parameters.items():
            np.testing.assert_allclose(named[path].value, parameter.detach(), **CLOSE, err_msg=f"{path} after {step}")


@pytest.mark.parametrize("file", SCRIPT["FILES"])
def test_the_reference_files_are_what_their_script_makes(file):
    made = SCRIPT["FILES"][file]().contents()
    with np.load(Path(__file__).parent / f"{file}.npz") as stored:
        if stored["torch_version"].item() != made["torch_version"]:
            pytest.skip(f"the files were made by PyTorch {stored['torch_version']}, this is {made['torch_version']}")
        assert stored["cases"].item() == made["cases"]
        assert set(stored) == set(made)
        for name in set(made) - {"cases", "torch_version", "numpy_version"}:
            # Another processor may round sums otherwise.
            np.testing.assert_allclose(stored[name], made[name], rtol=1e-10, atol=1e-12, err_msg=name)


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 3), st.integers(1, 4)),
    rotary=st.booleans(),
    causal=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_attention_of_any_size_computes_what_pytorch_does(sizes, rotary, causal, masked, seed):
    (rows, positions, heads, half), rng = sizes, np.random.default_rng(seed)
    shape = positions, 2 * half * heads
    layer = MultiHeadAttention(heads, causal=causal, rotary=rotary)
    layer.set_up(shape, 0, dtype="float64")
    for parameter in layer.named_parameters().values():
        parameter.value = rng.normal(size=parameter.value.shape)
    mask = np.arange(positions) < rng.integers(1, positions + 1, size=(rows, 1)) if masked else None
    x, dy = rng.normal(size=(2, rows, *shape))
    named = {name: torch.tensor(each.value, requires_grad=True) for name, each in layer.named_parameters().items()}
    inputs, padding = torch.tensor(x, requires_grad=True), None if mask is None else torch.tensor(~mask)
    function = SCRIPT["rotary_attention" if rotary else "multihead_attention"]
    y, weights = function({"heads": heads, "causal": causal}, padding, inputs, **named)
    gradients = torch.autograd.grad(y, [inputs, *named.values()], torch.tensor(dy))

    np.testing.assert_allclose(layer.attention_weights(x, mask), weights.detach(), **CLOSE)
    np.testing.assert_allclose(layer.forward(x, training=True, mask=mask), y.detach(), **CLOSE)
    found = [layer.backward(dy), *(parameter.gradient for parameter in layer.named_parameters().values())]
    for name, one, other in zip(["x", *named], found, gradients, strict=True):
        np.testing.assert_allclose(one, other, **CLOSE, err_msg=name)


def one_cycle(step):
    return 0.85 + 0.1 * np.cos(step / 20), 0.99 - 0.009 * np.sin(step / 7)


@pytest.mark.parametrize(
    ("make", "reference", "start", "average"),
    [
        (Adam, lambda p: torch.optim.Adam(p, lr=0.01), 0, None),
        (Adam, lambda p: torch.optim.Adam(p, lr=0.01), 0, lambda: Lookahead(steps=1, slow_rate=1.0)),
        (AdamW, lambda p: torch.optim.AdamW(p, lr=0.01), 0, None),
        (AMSGrad, lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True), 0, None),
        # Its product of momenta is there that of the past ones, here that of the present; both are 0 before long.
        (NAdam, lambda p: torch.optim.NAdam(p, lr=0.01), 60, None),
    ],
)
def test_steps_with_betas_that_change_agree_with_pytorch(make, reference, start, average):
    rng = np.random.default_rng(0)
    ours, gradients = rng.normal(size=20), rng.normal(size=(200, 20))
    theirs = torch.tensor(ours, requires_grad=True)
    optimizer, their_optimizer = make(0.01), reference([theirs])
    follower, vector = average and average(), ours.copy()
    for step, gradient in enumerate(gradients):
        if step >= start:
            optimizer.beta1, optimizer.beta2 = betas = one_cycle(step)
            their_optimizer.param_groups[0]["betas"] = betas
        optimizer.apply(ours, gradient)
        if follower is not None:  # with these settings it goes wherever the optimizer goes
            follower.follow(ours, vector, optimizer.step)
        theirs.grad = torch.tensor(gradient)
        their_optimizer.step()
        np.testing.assert_allclose(ours, theirs.detach().numpy(), **CLOSE)
