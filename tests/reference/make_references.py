"""Make the reference values of this folder with PyTorch: ``python tests/reference/make_references.py``.

Each ``.npz`` file holds arrays named ``case/array`` and a text ``cases`` in JSON: for each case the class in minidl
and its settings. The computation is PyTorch's, in float64, and its gradients are autograd's. The versions are pinned,
because the values are data of the tests: change a pin, make the files anew, and look at what has changed.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

TORCH, NUMPY = "2.13.", "2."
F = torch.nn.functional
FOLDER = Path(__file__).parent
STEPS = 60


class References:
    """The arrays of one file, collected case by case."""

    def __init__(self) -> None:
        self.cases: dict[str, dict] = {}
        self.arrays: dict[str, np.ndarray] = {}

    def add(self, case: str, kind: str, settings: dict, **arrays: object) -> None:
        if case in self.cases:
            raise ValueError(f"case {case!r} is there twice")
        self.cases[case] = {"class": kind, "settings": settings}
        for name, array in arrays.items():
            self.arrays[f"{case}/{name}"] = array.detach().numpy() if torch.is_tensor(array) else np.asarray(array)

    def contents(self) -> dict:
        versions = {"torch_version": str(torch.__version__), "numpy_version": np.__version__}
        return {"cases": json.dumps(self.cases), **versions, **self.arrays}


def adding_layers(references: References, rng: np.random.Generator):
    """Return what adds a case of a layer: a function, its value, and its gradients for a random upstream."""

    def add(case, kind, settings, function, x, **parameters):
        variables = {name: torch.tensor(value, requires_grad=True) for name, value in {"x": x, **parameters}.items()}
        y = function(**variables)
        dy = torch.tensor(rng.normal(size=tuple(y.shape)))
        gradients = torch.autograd.grad(y, list(variables.values()), dy)
        named = dict(zip((f"d{name}" for name in variables), gradients, strict=True))
        references.add(case, kind, settings, **variables, y=y, dy=dy, **named)

    return add


def make_layers() -> References:
    """Outputs and gradients of each layer for random input, parameters and upstream."""
    references, rng = References(), np.random.default_rng(1)

    add = adding_layers(references, rng)

    def linear(x, weight, bias=None):
        # PyTorch's weights are (outputs, inputs).
        return F.linear(x, weight.T, bias)

    for rows, inputs, units in [(1, 1, 1), (7, 5, 3), (20, 12, 6)]:
        shapes = {"weight": (inputs, units), "bias": (units,)}
        parameters = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        x = rng.normal(size=(rows, inputs))
        size = f"{rows}x{inputs}x{units}"
        add(f"dense {size}", "Dense", {"units": units}, linear, x, **parameters)
        settings = {"units": units, "use_bias": False}
        add(f"dense without bias {size}", "Dense", settings, linear, x, weight=parameters["weight"])

    # Wide enough to saturate, with the kink and the ends of the exponential function's range.
    wide = rng.normal(scale=4, size=(8, 6))
    wide[0] = [0, -0.0, 30, -30, 700, -700]
    for x in (wide, rng.normal(size=(3, 4, 2))):
        axes = f"{x.ndim} axes"
        add(f"relu, {axes}", "ReLU", {}, torch.relu, x)
        for slope in (0.0, 0.01, 0.3, 1.0, 2.0, -0.5):
            settings = {"negative_slope": slope}
            add(f"leaky relu {slope}, {axes}", "LeakyReLU", settings, lambda x, s=slope: F.leaky_relu(x, s), x)
        add(f"sigmoid, {axes}", "Sigmoid", {}, torch.sigmoid, x)
        add(f"tanh, {axes}", "Tanh", {}, torch.tanh, x)
        add(f"softmax, {axes}", "Softmax", {}, lambda x: torch.softmax(x, -1), x)
        add(f"flatten, {axes}", "Flatten", {}, lambda x: torch.flatten(x, 1), x)
        for scale, offset in [(1 / 255, 0.0), (-2.5, 0.75)]:
            settings = {"scale": scale, "offset": offset}
            case = f"rescale {scale:.2g} {offset}, {axes}"
            add(case, "Rescale", settings, lambda x, a=scale, b=offset: a * x + b, x)
    # Eighths are exact in float32 too, where 10,000 leaves no more than three decimals.
    far = np.round(8 * rng.normal(size=(4, 3))) / 8 + [[1e4], [-1e4], [0], [700]]
    add("softmax, far scores", "Softmax", {}, lambda x: torch.softmax(x, -1), far)
    for shape in [(6, 4), (2, 3, 4), (-1, 2), (24,)]:
        settings, x = {"target_shape": shape}, rng.normal(size=(3, 4, 6))
        add(f"reshape to {shape}", "Reshape", settings, lambda x, shape=shape: x.reshape(len(x), *shape), x)
    add_activations(references, wide)
    add_normalizations(references)
    add_images(references)
    return references


def add_activations(references: References, wide: np.ndarray) -> None:
    """Activations of the rectifying and of the smooth kind, where `wide` goes as well."""
    rng = np.random.default_rng(11)
    add = adding_layers(references, rng)
    for x in (wide, rng.normal(size=(3, 4, 2))):
        axes = f"{x.ndim} axes"
        for alpha in (1.0, 0.3, -2.0):
            add(f"elu {alpha}, {axes}", "ELU", {"alpha": alpha}, lambda x, a=alpha: F.elu(x, a), x)
        for kind, function in [("SELU", F.selu), ("SiLU", F.silu)]:
            add(f"{kind.lower()}, {axes}", kind, {}, lambda x, function=function: function(x), x)
        for approximate in (False, True):
            settings, form = {"approximate": approximate}, "tanh" if approximate else "none"
            case = f"gelu, approximate {form}, {axes}"
            add(case, "GELU", settings, lambda x, form=form: F.gelu(x, approximate=form), x)
        # PyTorch's own threshold, 20, makes it a line beyond.
        add(f"softplus, {axes}", "Softplus", {}, lambda x: F.softplus(x, threshold=709), x)
        slope = rng.normal(size=x.shape[-1])
        add(f"prelu, {axes}", "PReLU", {}, lambda x, slope: channels_last(F.prelu, x, slope), x, slope=slope)


def add_normalizations(references: References) -> None:
    """Layers that normalize; for batches also the running means before and after, and the output in inference."""
    rng = np.random.default_rng(12)
    add = adding_layers(references, rng)
    for shape in [(5, 4), (2, 1), (3, 4, 5, 2)]:
        x = rng.normal(scale=3, size=shape) + rng.normal(scale=5, size=shape[-1])
        parameters = {"scale": rng.normal(size=shape[-1]), "shift": rng.normal(size=shape[-1])}
        for epsilon in (1e-5, 0.3):
            settings, size = {"epsilon": epsilon}, f"epsilon {epsilon}, {'x'.join(map(str, shape))}"

            def layer_norm(x, scale, shift, epsilon=epsilon):
                return F.layer_norm(x, x.shape[-1:], scale, shift, epsilon)

            if shape[-1] > 1:
                add(f"layer norm, {size}", "LayerNorm", settings, layer_norm, x, **parameters)
            for momentum in (0.9, 0.2):
                states = [rng.normal(size=shape[-1]), rng.uniform(0.5, 2, size=shape[-1])]
                running = [torch.tensor(state) for state in states]

                def batch_norm(x, scale, shift, training=True, running=running, momentum=momentum, epsilon=epsilon):
                    return channels_last(
                        lambda x: F.batch_norm(x, *running, scale, shift, training, 1 - momentum, epsilon), x
                    )

                case, settings = f"batch norm, momentum {momentum}, {size}", {"momentum": momentum, "epsilon": epsilon}
                add(case, "BatchNorm", settings, batch_norm, x, **parameters)
                inference = batch_norm(torch.tensor(x), *map(torch.tensor, parameters.values()), training=False)
                references.arrays |= {
                    f"{case}/running_mean before": states[0],
                    f"{case}/running_variance before": states[1],
                    f"{case}/running_mean": running[0].numpy(),
                    f"{case}/running_variance": running[1].numpy(),
                    f"{case}/y in inference": inference.numpy(),
                }


def around(sides, size, options):
    """Return the padding ((top, bottom), (left, right)) of a window; "same" puts the larger half at the end."""
    padding, dilation = options.padding, getattr(options, "dilation", (1, 1))
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same":
        return padding
    margins = []
    for side, entries, stride, step in zip(sides, size, options.strides or size, dilation, strict=True):
        places, span = -(-side // stride), step * (entries - 1) + 1
        missing = max((places - 1) * stride + span - side, 0)
        margins.append((missing // 2, missing - missing // 2))
    return margins


def put_around(x, margins, value=0.0):
    """Pad images (N, height, width, channels), or cut off where a number is negative."""
    (top, bottom), (left, right) = margins
    return F.pad(x, (0, 0, left, right, top, bottom), value=value)


def convolution(options, x, parameters):
    weight = parameters["weight"]
    padded = put_around(x, around(x.shape[1:3], options.kernel_size, options))
    rest = parameters.get("bias"), options.strides, 0, options.dilation, x.shape[3] // weight.shape[2]
    return channels_last(lambda x: F.conv2d(x, weight.permute(3, 2, 0, 1).contiguous(), *rest), padded)


def transposed_convolution(options, x, parameters):
    weight = parameters["weight"].permute(2, 3, 0, 1).contiguous()
    y = channels_last(lambda x: F.conv_transpose2d(x, weight, None, options.strides, dilation=options.dilation), x)
    if options.padding == "same":
        sides = [side * stride for side, stride in zip(x.shape[1:3], options.strides, strict=True)]
        margins = around(sides, options.kernel_size, options)
        ends = [side - whole + before for side, whole, (before, _) in zip(sides, y.shape[1:3], margins, strict=True)]
        y = put_around(y, [(-before, end) for (before, _), end in zip(margins, ends, strict=True)])
    else:
        y = put_around(y, [(-before, -after) for before, after in around((), (), options)])
    return y if parameters.get("bias") is None else y + parameters["bias"]


def max_pooling(options, x, parameters):
    padded = put_around(x, around(x.shape[1:3], options.pool_size, options), -torch.inf)
    return channels_last(lambda x: F.max_pool2d(x, options.pool_size, options.strides), padded)


def average_pooling(options, x, parameters):
    margins = around(x.shape[1:3], options.pool_size, options)

    def mean(x):
        return channels_last(lambda x: F.avg_pool2d(x, options.pool_size, options.strides), put_around(x, margins))

    return mean(x) / mean(torch.ones_like(x))  # over what lies within the image


def enlarged(options, x, parameters):
    return channels_last(lambda x: F.interpolate(x, scale_factor=tuple(map(float, options.size)), mode="nearest"), x)


# Of each layer, a function of its settings (pairs as pairs), its input and its parameters.
IMAGE_LAYERS = {
    "Conv2D": convolution,
    "DepthwiseConv2D": convolution,
    "Conv2DTranspose": transposed_convolution,
    "MaxPool2D": max_pooling,
    "AveragePool2D": average_pooling,
    "GlobalAveragePool2D": lambda options, x, parameters: x.mean((1, 2)),
    "GlobalMaxPool2D": lambda options, x, parameters: channels_last(lambda x: F.adaptive_max_pool2d(x, 1), x)[:, 0, 0],
    "ZeroPad2D": lambda options, x, parameters: put_around(x, options.padding),
    "UpSample2D": enlarged,
}


def add_images(references: References) -> None:
    """Layers of images: windows with and without strides, padding and dilation, of odd and even sizes, in groups."""
    rng = np.random.default_rng(13)
    add = adding_layers(references, rng)

    def add_layer(kind, shape, weight=None, **settings):
        parameters = {} if weight is None else {"weight": rng.normal(size=weight)}
        if settings.get("use_bias", True) and weight is not None:
            parameters["bias"] = rng.normal(size=weight[-1])
        defaults = {"strides": None if "pool_size" in settings else (1, 1), "padding": "valid", "dilation": (1, 1)}
        options = SimpleNamespace(**defaults | settings)

        def function(x, **parameters):
            return IMAGE_LAYERS[kind](options, x, parameters)

        described = ", ".join(f"{name} {value}" for name, value in settings.items())
        add(f"{kind} of {shape}: {described}", kind, settings, function, rng.normal(size=shape), **parameters)

    for images, settings in [
        ((2, 5, 4, 2), {"kernel_size": (3, 3)}),
        ((1, 4, 5, 4), {"kernel_size": (2, 3), "padding": "same", "use_bias": False}),
        ((2, 5, 4, 2), {"kernel_size": (4, 2), "padding": "same", "strides": (2, 3)}),
        ((1, 4, 7, 2), {"kernel_size": (3, 2), "padding": ((0, 2), (1, 0)), "strides": (2, 1), "dilation": (1, 2)}),
        ((1, 5, 6, 4), {"kernel_size": (2, 2), "padding": "same", "dilation": (2, 3)}),
        ((2, 4, 5, 2), {"kernel_size": (1, 1), "strides": (2, 2)}),
    ]:
        size, channels = settings["kernel_size"], images[3]
        add_layer("Conv2D", images, (*size, channels, 2), filters=2, **settings)
        add_layer("Conv2D", images, (*size, channels // 2, 4), filters=4, groups=2, **settings)
        add_layer("DepthwiseConv2D", images, (*size, 1, 2 * channels), multiplier=2, **settings)
        add_layer("Conv2DTranspose", images, (*size, channels, 2), filters=2, **settings)
    for images in [(2, 5, 4, 2), (1, 4, 7, 3)]:
        for kind in ("MaxPool2D", "AveragePool2D"):
            add_layer(kind, images, pool_size=(2, 2))
            add_layer(kind, images, pool_size=(3, 2), strides=(2, 1), padding="same")
            add_layer(kind, images, pool_size=(2, 3), strides=(3, 2), padding=((1, 0), (1, 2)))
        add_layer("GlobalAveragePool2D", images)
        add_layer("GlobalMaxPool2D", images)
        add_layer("ZeroPad2D", images, padding=((1, 0), (2, 3)))
        add_layer("UpSample2D", images, size=(2, 3))


def channels_last(function, x, *parameters):
    """Apply what expects channels as the second axis to `x` that has them as the last."""
    return function(x.movedim(-1, 1), *parameters).movedim(1, -1)


def make_losses() -> References:
    """Mean loss and its gradient by the scores, plain and weighted."""
    references, rng = References(), np.random.default_rng(2)

    def add(case, kind, function, scores, targets, settings=None, rng=rng):
        settings = settings or {}
        s, t = torch.tensor(scores, requires_grad=True), torch.tensor(targets)
        mean = function(s, t)
        (gradient,) = torch.autograd.grad(mean, s)
        references.add(case, kind, settings, scores=s, targets=t, loss=mean, gradient=gradient)

        weights = rng.uniform(0, 3, len(scores))
        weights[1] = 0
        w = torch.tensor(weights)
        mean = (function(s, t, reduction="none").reshape(len(scores), -1).mean(1) * w).sum() / w.sum()
        (gradient,) = torch.autograd.grad(mean, s)
        case = f"{case}, weighted"
        references.add(case, kind, settings, scores=s, targets=t, sample_weight=w, loss=mean, gradient=gradient)

    for rows, classes in [(2, 2), (9, 4)]:
        labels = rng.integers(classes, size=rows)
        for scale in (1.0, 30.0):
            scores = rng.normal(scale=scale, size=(rows, classes))
            size = f"{rows}x{classes} of scale {scale:g}"
            kind = "SoftmaxCrossEntropy"
            add(f"softmax, labels, {size}", kind, F.cross_entropy, scores, labels)
            add(f"softmax, one-hot, {size}", kind, F.cross_entropy, scores, np.eye(classes)[labels])
            soft = rng.dirichlet(np.ones(classes), size=rows)
            add(f"softmax, soft, {size}", kind, F.cross_entropy, scores, soft)
            several = rng.integers(2, size=(rows, classes)).astype(float)
            bce, mse = F.binary_cross_entropy_with_logits, F.mse_loss
            add(f"sigmoid, several, {size}", "SigmoidCrossEntropy", bce, scores, several)
            add(f"sigmoid, soft, {size}", "SigmoidCrossEntropy", bce, scores, rng.uniform(size=(rows, classes)))
            add(f"sigmoid, one, {size}", "SigmoidCrossEntropy", bce, scores[:, :1], several[:, :1])
            values = rng.normal(size=(rows, classes))
            add(f"squared error, several, {size}", "MeanSquaredError", mse, scores, values)
            add(f"squared error, one, {size}", "MeanSquaredError", mse, scores[:, :1], values[:, :1])
    far = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 1e-4, 1e4]])
    labels = np.array([0, 1, 0, 2, 1])
    add("softmax, labels, far scores", "SoftmaxCrossEntropy", F.cross_entropy, far, labels)
    add("softmax, one-hot, far scores", "SoftmaxCrossEntropy", F.cross_entropy, far, np.eye(3)[labels])
    soft = rng.dirichlet(np.ones(3), size=5)
    add("softmax, soft, far scores", "SoftmaxCrossEntropy", F.cross_entropy, far, soft)
    both = np.eye(3)[labels]
    add("sigmoid, far scores", "SigmoidCrossEntropy", F.binary_cross_entropy_with_logits, far, both)
    _add_more_losses(functools.partial(add, rng=np.random.default_rng(5)), np.random.default_rng(6), far)
    return references


def _add_more_losses(add: Callable[..., None], rng: np.random.Generator, far: np.ndarray) -> None:
    """Add the losses that have settings, and those that PyTorch has in parts, of which autograd makes the whole."""

    def reduced(losses, reduction):
        return losses.mean() if reduction == "mean" else losses

    def divergence(s, t, reduction="mean"):
        return reduced(F.kl_div(F.log_softmax(s, 1), t, reduction="none").sum(1), reduction)

    def focal(s, t, reduction="mean", gamma=2.0):
        log_p = F.log_softmax(s, 1)
        rows = F.one_hot(t, s.shape[1]) if t.ndim == 1 else t
        return reduced(-(rows * (1 - log_p.exp()) ** gamma * log_p).sum(1), reduction)

    def hinge(s, t, reduction="mean"):
        return F.margin_ranking_loss(s, torch.zeros_like(s), 2 * t - 1, margin=1, reduction=reduction)

    def strongest_rival(s, t, reduction="mean"):
        right = F.one_hot(t, s.shape[1]).bool()
        rival = s.masked_fill(right, -torch.inf).max(1).values
        return reduced(torch.relu(1 + rival - s[right]), reduction)

    for rows, classes in [(2, 2), (9, 4)]:
        labels = rng.integers(classes, size=rows)
        for scale in (1.0, 30.0):
            scores, soft = rng.normal(scale=scale, size=(rows, classes)), rng.dirichlet(np.ones(classes), size=rows)
            size = f"{rows}x{classes} of scale {scale:g}"
            smoothed = functools.partial(F.cross_entropy, label_smoothing=0.1)
            for kind, targets in (("labels", labels), ("soft", soft)):
                case = f"softmax smoothed, {kind}, {size}"
                add(case, "SoftmaxCrossEntropy", smoothed, scores, targets, {"label_smoothing": 0.1})
            for gamma in (0.5, 2.0) if scale == 1 else (2.0,):  # autograd has 0 / 0 where p rounds to 1
                for kind, targets in (("labels", labels), ("soft", soft)):
                    function, case = functools.partial(focal, gamma=gamma), f"focal {gamma}, {kind}, {size}"
                    add(case, "FocalCrossEntropy", function, scores, targets, {"gamma": gamma})
            add(f"divergence, {size}", "KLDivergence", divergence, scores, soft)
            add(f"divergence, one-hot, {size}", "KLDivergence", divergence, scores, np.eye(classes)[labels])
            add(f"hinge, several, {size}", "Hinge", strongest_rival, scores, labels)
            add(f"hinge, one, {size}", "Hinge", hinge, scores[:, 0], (labels > 0).astype(int))
            values, counts = rng.normal(size=(rows, classes)), rng.poisson(2, size=(rows, classes)).astype(float)
            add(f"absolute error, {size}", "MeanAbsoluteError", F.l1_loss, scores, values)
            for delta in (0.3, 1.0):
                function, settings = functools.partial(F.huber_loss, delta=delta), {"delta": delta}
                add(f"huber {delta}, {size}", "Huber", function, scores, values, settings)
            rates = scores / scale  # the logarithms
            add(f"poisson, {size}", "Poisson", F.poisson_nll_loss, rates, counts)
            add(f"poisson, one, {size}", "Poisson", F.poisson_nll_loss, rates[:, :1], counts[:, :1])
    labels, soft = np.array([0, 1, 0, 2, 1]), rng.dirichlet(np.ones(3), size=5)
    smoothed = functools.partial(F.cross_entropy, label_smoothing=0.2)
    add("softmax smoothed, far scores", "SoftmaxCrossEntropy", smoothed, far, labels, {"label_smoothing": 0.2})
    add("focal, far scores", "FocalCrossEntropy", focal, far, labels)
    add("divergence, far scores", "KLDivergence", divergence, far, soft)


def clip_value(gradient, bound):
    gradient.clamp_(-bound, bound)


def clip_norm(gradient, bound):
    # PyTorch's clip_grad_norm_ adds 1e-6 to the norm.
    gradient *= torch.clamp(bound / torch.linalg.vector_norm(gradient), max=1.0)


CLIPPERS = {"clip_value": clip_value, "clip_norm": clip_norm}


def make_optimizers() -> References:
    """Parameters at every tenth step, along recorded gradients and down a quadratic."""
    references, rng = References(), np.random.default_rng(3)
    size = 8
    start, centre = rng.normal(size=size), rng.normal(size=size)
    # Coordinates of scales from 1e-4 to 1e3; the last is 0 at first, as where a ReLU is dead.
    gradients = rng.normal(size=(STEPS, size)) * 10.0 ** np.array([0, 0, 1, 3, -1, -2, -4, 0])
    gradients[:20, -1] = 0
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    curvature = basis * np.geomspace(0.05, 5, size) @ basis.T
    falling = 0.1 / (1 + np.arange(STEPS) / 10)
    waving = 0.02 * (1.5 + np.sin(np.arange(STEPS)))

    def add(case, kind, settings, make, rates):
        paths = {}
        for path in ("recorded", "quadratic"):
            p = torch.nn.Parameter(torch.tensor(start))
            optimizer = make([p])
            visited = []
            for step in range(STEPS):
                optimizer.param_groups[0]["lr"] = float(rates[step])
                if path == "recorded":
                    p.grad = torch.tensor(gradients[step])
                else:
                    optimizer.zero_grad()
                    offset = p - torch.tensor(centre)
                    (0.5 * offset @ torch.tensor(curvature) @ offset).backward()
                optimizer.step()
                if (step + 1) % 10 == 0:
                    visited.append(p.detach().numpy().copy())
            paths[path] = np.array(visited)
        references.add(case, kind, settings, rates=rates, **paths)

    schedules = {"0.01": np.full(STEPS, 0.01), "0.3": np.full(STEPS, 0.3), "falling": falling, "waving": waving}
    for name, rates in schedules.items():
        add(f"sgd, rate {name}", "SGD", {}, lambda p: torch.optim.SGD(p, lr=1), rates)
        for momentum in (0.0, 0.5, 0.9, 0.99):
            for nesterov in (False, True):
                if momentum == 0 and nesterov:
                    continue  # PyTorch refuses it
                settings = {"momentum": momentum, "nesterov": nesterov}
                kind = "nesterov" if nesterov else "momentum"
                make = lambda p, settings=settings: torch.optim.SGD(p, lr=1, **settings)  # noqa: E731
                add(f"{kind} {momentum}, rate {name}", "Momentum", settings, make, rates)
        for beta1, beta2, epsilon in [
            (0.9, 0.999, 1e-8),
            (0.8, 0.9, 1e-8),
            (0.0, 0.99, 1e-6),
            (0.9, 0.5, 1e-2),
            (0.95, 0.9999, 1e-3),
            (0.5, 0.5, 1.0),
        ]:
            settings = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon}
            make = lambda p, b=(beta1, beta2), e=epsilon: torch.optim.Adam(p, lr=1, betas=b, eps=e)  # noqa: E731
            add(f"adam {beta1} {beta2} {epsilon}, rate {name}", "Adam", settings, make, rates)
    references.arrays |= {"start": start, "gradients": gradients, "centre": centre, "curvature": curvature}

    adaptive = {
        "AdamW": [(torch.optim.AdamW, {"weight_decay": d}, {"eps": 1e-8, "weight_decay": d}) for d in (0.0, 0.01, 0.5)],
        "AMSGrad": [
            (torch.optim.Adam, {"beta2": b, "epsilon": 1e-6}, {"betas": (0.9, b), "eps": 1e-6, "amsgrad": True})
            for b in (0.999, 0.5)
        ],
        "NAdam": [
            (torch.optim.NAdam, {"beta1": b, "momentum_decay": d}, {"betas": (b, 0.999), "momentum_decay": d})
            for b, d in ((0.9, 0.004), (0.5, 1.0))
        ],
        "RMSprop": [
            (
                torch.optim.RMSprop,
                {"decay": a, "momentum": m, "centered": c, "epsilon": 0.5},
                {"alpha": a, "momentum": m, "centered": c, "eps": 0.5},
            )
            for a, m, c in ((0.9, 0.0, False), (0.99, 0.9, False), (0.5, 0.0, True), (0.9, 0.5, True))
        ],
        "Adagrad": [(torch.optim.Adagrad, {"epsilon": e}, {"eps": e}) for e in (1e-10, 0.1)],
        "Adadelta": [
            (torch.optim.Adadelta, {"decay": r, "epsilon": e}, {"rho": r, "eps": e})
            for r, e in ((0.9, 1e-6), (0.5, 0.1))
        ],
        "Adam": [(torch.optim.Adam, {"clip_norm": 0.5}, {"eps": 1e-8}), (torch.optim.Adam, {"clip_value": 0.1}, {})],
        "Momentum": [(torch.optim.SGD, {"momentum": 0.9, "clip_norm": 2.0}, {"momentum": 0.9})],
    }

    torch.set_default_dtype(torch.float64)  # else NAdam keeps the product of its momenta in float32
    for kind, cases in adaptive.items():
        for counterpart, settings, theirs in cases:
            for name, rates in schedules.items():

                def make(parameters, counterpart=counterpart, theirs=theirs, settings=settings):
                    optimizer = counterpart(parameters, lr=1, **theirs)
                    for bound in settings.keys() & CLIPPERS.keys():
                        step = lambda *_, c=CLIPPERS[bound], b=settings[bound]: c(parameters[0].grad, b)  # noqa: E731
                        optimizer.register_step_pre_hook(step)
                    return optimizer

                values = " ".join(f"{key} {value}" for key, value in settings.items())
                add(f"{kind}, {values}, rate {name}", kind, settings, make, rates)
    torch.set_default_dtype(torch.float32)
    add_schedules(references)
    return references


def add_schedules(references: References) -> None:
    """Rates of the first steps, and beyond the end, of schedules that PyTorch has."""
    lrs, rate, last = torch.optim.lr_scheduler, 0.3, 40

    def add(case, kind, settings, make, steps=last):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
        schedule = make(optimizer)
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        references.add(f"schedule {case}", kind, settings, schedule=rates)

    first = {"rate": rate}
    add("constant", "ConstantRate", first, lambda o: lrs.LambdaLR(o, lambda step: 1.0))
    for every, factor in ((7, 0.1), (1, 0.9)):
        settings = first | {"every": every, "factor": factor}
        add(f"stairs {every} {factor}", "StepDecay", settings, lambda o, e=every, f=factor: lrs.StepLR(o, e, f))
    settings = first | {"steps": 10, "factor": 0.5}
    add("exponential", "ExponentialDecay", settings, lambda o: lrs.ExponentialLR(o, 0.5**0.1))
    for power in (1.0, 2.5):
        settings = first | {"steps": 30, "power": power}
        add(f"polynomial {power}", "PolynomialDecay", settings, lambda o, p=power: lrs.PolynomialLR(o, 30, p))
    for end in (0.0, 0.05):
        settings = first | {"steps": 31, "end": end}
        add(f"cosine {end}", "CosineDecay", settings, lambda o, e=end: lrs.CosineAnnealingLR(o, 31, e), 32)
        for growth in (1, 2):
            settings = first | {"steps": 5, "end": end, "growth": float(growth)}
            case = f"restarts {end} {growth}"
            make = lambda o, e=end, g=growth: lrs.CosineAnnealingWarmRestarts(o, 5, g, e)  # noqa: E731
            add(case, "CosineRestarts", settings, make)
    for steps, rise in ((40, 0.3), (33, 0.5), (25, 0.25)):
        settings = first | {"steps": steps, "rise": rise}
        make = lambda o, n=steps, r=rise: lrs.OneCycleLR(o, rate, total_steps=n, pct_start=r)  # noqa: E731
        add(f"one cycle {steps} {rise}", "OneCycle", settings, make, steps - 1)
    settings = {"schedule": rate, "steps": 8, "start": 0.1}
    add("warm-up", "Warmup", settings, lambda o: lrs.LinearLR(o, 1 / 3, 1.0, 8))


def make_initializers() -> References:
    """Mean, standard deviation, least and largest entry of large weights."""
    references, init = References(), torch.nn.init
    generator = torch.Generator().manual_seed(4)
    counterparts = [
        ("HeNormal", {}, lambda w: init.kaiming_normal_(w, nonlinearity="relu", generator=generator)),
        ("HeUniform", {}, lambda w: init.kaiming_uniform_(w, nonlinearity="relu", generator=generator)),
        ("LeCunNormal", {}, lambda w: init.kaiming_normal_(w, nonlinearity="linear", generator=generator)),
        ("GlorotNormal", {}, lambda w: init.xavier_normal_(w, generator=generator)),
        ("GlorotUniform", {}, lambda w: init.xavier_uniform_(w, generator=generator)),
        ("Normal", {"mean": 0.2, "standard_deviation": 0.7}, lambda w: init.normal_(w, 0.2, 0.7, generator=generator)),
        ("Uniform", {"low": -0.1, "high": 0.4}, lambda w: init.uniform_(w, -0.1, 0.4, generator=generator)),
        ("Orthogonal", {"gain": 1.0}, lambda w: init.orthogonal_(w, 1.0, generator=generator)),
        ("Orthogonal", {"gain": 2.5}, lambda w: init.orthogonal_(w, 2.5, generator=generator)),
    ]
    for kind, settings, fill in counterparts:
        for inputs, outputs in [(784, 128), (100, 900)]:
            # PyTorch's weights are (outputs, inputs).
            weight = fill(torch.empty(outputs, inputs, dtype=torch.float64))
            gain = f" {settings['gain']}" if "gain" in settings else ""
            references.add(
                f"{kind}{gain} {inputs}x{outputs}",
                kind,
                settings,
                shape=[inputs, outputs],
                statistics=torch.stack([weight.mean(), weight.std(correction=0), weight.min(), weight.max()]),
            )
    return references


def make_attention() -> References:
    """Attention and positions: outputs, the weights of each head, and gradients."""
    references, rng = References(), np.random.default_rng(20)
    for rows, positions, features, heads in [(3, 5, 6, 2), (2, 7, 4, 1), (2, 1, 4, 4), (2, 4, 8, 2)]:
        size = f"{rows}x{positions}x{features}, {heads} heads"
        lengths = rng.integers(1, positions + 1, size=rows)
        masks = {"": None, ", padded": np.arange(positions) < lengths[:, np.newaxis]}
        masks[", padded in between"] = np.concatenate(
            [np.ones((rows, 1), bool), rng.uniform(size=(rows, positions - 1)) < 0.5], axis=1
        )
        shapes = {"weight": (features, 3 * features), "output_weight": (features, features)}
        shapes |= {"bias": (3 * features,), "output_bias": (features,)}
        for causal in (False, True):
            for padded, mask in masks.items():
                for use_bias in (True, False) if mask is None else (True,):
                    settings = {"heads": heads, "causal": causal, "use_bias": use_bias}
                    named = {name: rng.normal(size=shape) for name, shape in shapes.items() if use_bias or "w" in name}
                    case = f"{size}{', causal' * causal}{', without bias' * (not use_bias)}{padded}"
                    x = rng.normal(size=(rows, positions, features))
                    add_attention(references, rng, case, settings, multihead_attention, x, mask, named)
                settings = {"heads": heads, "causal": causal, "rotary": True}
                if features // heads % 2 == 0:
                    named = {name: rng.normal(size=shape) for name, shape in shapes.items()}
                    x, case = rng.normal(size=(rows, positions, features)), f"{size}{', causal' * causal}{padded}"
                    add_attention(references, rng, f"{case}, rotary", settings, rotary_attention, x, mask, named)
    add = adding_layers(references, rng)
    for positions, features in [(6, 4), (3, 8), (40, 2)]:
        x, size = rng.normal(size=(2, positions, features)), f"{positions}x{features}"
        add(f"encoding {size}", "PositionalEncoding", {}, lambda x: x + sinusoids(*x.shape[1:]), x)
        weight = rng.normal(size=(positions, features))
        add(f"embedding {size}", "PositionEmbedding", {}, lambda x, weight: x + weight, x, weight=weight)
    return references


def add_attention(references, rng, case, settings, function, x, mask, parameters) -> None:
    """Add a case of attention; `function` returns the output, and the weights of each head."""
    variables = {name: torch.tensor(value, requires_grad=True) for name, value in {"x": x, **parameters}.items()}
    padding = None if mask is None else torch.tensor(~mask)  # PyTorch's masks are True there
    y, weights = function(settings, padding, **variables)
    dy = torch.tensor(rng.normal(size=tuple(y.shape)))
    gradients = torch.autograd.grad(y, list(variables.values()), dy)
    named = dict(zip((f"d{name}" for name in variables), gradients, strict=True))
    named |= {} if mask is None else {"mask": mask}
    references.add(case, "MultiHeadAttention", settings, **variables, y=y, weights=weights, dy=dy, **named)


def multihead_attention(settings, padding, x, weight, output_weight, bias=None, output_bias=None):
    """PyTorch's own layer, with these parameters in place of its own."""
    features, positions = x.shape[2], x.shape[1]
    layer = torch.nn.MultiheadAttention(
        features, settings["heads"], bias=bias is not None, batch_first=True, dtype=torch.float64
    )
    named = {"in_proj_weight": weight.T, "out_proj.weight": output_weight.T}
    named |= {} if bias is None else {"in_proj_bias": bias, "out_proj.bias": output_bias}
    later = torch.ones(positions, positions, dtype=torch.bool).triu(1) if settings["causal"] else None
    options = {"key_padding_mask": padding, "attn_mask": later, "average_attn_weights": False}
    return torch.func.functional_call(layer, named, (x, x, x), options)


def rotary_attention(settings, padding, x, weight, bias, output_weight, output_bias):
    """PyTorch's attention of queries and keys whose pairs of features are complex numbers that turn."""
    (rows, positions, features), heads = x.shape, settings["heads"]
    parts = (x @ weight + bias).reshape(rows, positions, 3, heads, features // heads)
    queries, keys, values = parts.permute(2, 0, 3, 1, 4)
    half = features // heads // 2
    frequencies = 10000 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * frequencies

    def turned(vectors):
        pairs = torch.complex(vectors[..., :half], vectors[..., half:])
        pairs = pairs * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([pairs.real, pairs.imag], dim=-1)

    allowed = torch.ones(rows, 1, positions, positions, dtype=torch.bool)
    allowed = allowed.tril() if settings["causal"] else allowed
    allowed = allowed if padding is None else allowed & ~padding[:, None, None]
    attend = lambda values: F.scaled_dot_product_attention(turned(queries), turned(keys), values, allowed)  # noqa: E731
    weights = attend(torch.eye(positions, dtype=torch.float64).expand(rows, heads, positions, positions))
    joined = attend(values).transpose(1, 2).reshape(rows, positions, features)
    return joined @ output_weight + output_bias, weights


def sinusoids(positions, features):
    """The table of the PyTorch tutorials."""
    place = torch.arange(positions, dtype=torch.float64).unsqueeze(1)
    terms = torch.exp(torch.arange(0, features, 2, dtype=torch.float64) * (-np.log(10000.0) / features))
    table = torch.zeros(positions, features, dtype=torch.float64)
    table[:, 0::2], table[:, 1::2] = torch.sin(place * terms), torch.cos(place * terms)
    return table


def torch_parameters(kind: str, parameters: dict, end: str = "_l0") -> dict:
    """Return minidl's parameters by the names of PyTorch's recurrent layers: of two biases that are one here, zeros."""
    bias = parameters["bias"]
    if kind == "GRU":
        gates = torch.zeros_like(bias[: len(bias) * 2 // 3])
        recurrent_bias = torch.cat([gates, parameters["recurrent_bias"]])
    else:
        recurrent_bias = torch.zeros_like(bias)
    return {
        f"weight_ih{end}": parameters["weight"].T,
        f"weight_hh{end}": parameters["recurrent_weight"].T,
        f"bias_ih{end}": bias,
        f"bias_hh{end}": recurrent_bias,
    }


def run_recurrent(kind: str, settings: dict, x, parameters: dict, lengths=None, merge: str = "concatenate"):
    """Return outputs (N, T, H), zeros beyond a sequence's end, and the last ones; both ways with "forward/..."."""
    directions = ("forward/", "backward/") if "forward/weight" in parameters else ("",)
    options = {"nonlinearity": settings["activation"]} if "activation" in settings else {}
    units, both = settings["units"], len(directions) == 2
    network = getattr(torch.nn, {"SimpleRNN": "RNN"}.get(kind, kind))(
        x.shape[2], units, batch_first=True, bidirectional=both, dtype=torch.float64, **options
    )
    named = {}
    for start, end in zip(directions, ("_l0", "_l0_reverse"), strict=False):
        own = {name.removeprefix(start): value for name, value in parameters.items() if name.startswith(start)}
        named |= torch_parameters(kind, own, end)
    lengths = torch.full((len(x),), x.shape[1]) if lengths is None else torch.as_tensor(lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, state = torch.func.functional_call(network, named, (packed,))
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    last = state[0] if kind == "LSTM" else state
    if both and merge != "concatenate":
        share = 0.5 if merge == "mean" else 1
        return share * (y[..., :units] + y[..., units:]), share * last.sum(0)
    return y, torch.cat(list(last), 1)


def step_by_step(kind: str, settings: dict, x, parameters: dict) -> np.ndarray:
    """Return the state after each step, (T, numbers in a state, N, H), of PyTorch's cells."""
    options = {"nonlinearity": settings["activation"]} if "activation" in settings else {}
    cell = getattr(torch.nn, {"SimpleRNN": "RNN"}.get(kind, kind) + "Cell")(
        x.shape[2], settings["units"], dtype=torch.float64, **options
    )
    named, state, states = torch_parameters(kind, parameters, ""), None, []
    for step in x.swapaxes(0, 1):
        state = torch.func.functional_call(cell, named, (step, state))
        states.append(torch.stack(state if kind == "LSTM" else (state,)))
    return torch.stack(states).detach().numpy()


GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}


def draw_recurrent(rng: np.random.Generator, kind: str, features: int, units: int) -> dict[str, np.ndarray]:
    """Draw all parameters of a recurrent layer."""
    columns = GATES[kind] * units
    shapes = {"weight": (features, columns), "recurrent_weight": (units, columns), "bias": (columns,)}
    if kind == "GRU":
        shapes["recurrent_bias"] = (units,)
    return {name: rng.normal(scale=0.6, size=shape) for name, shape in shapes.items()}


def make_recurrent() -> References:
    """Outputs, states and gradients of recurrent layers, also of sequences that are padded to one length."""
    references, rng = References(), np.random.default_rng(19)
    add = adding_layers(references, rng)

    def add_case(case, kind, settings, merge, x, parameters, lengths):
        def function(x, **parameters):
            x = x.flip(1) if settings.get("go_backwards") else x
            y, last = run_recurrent(kind, settings, x, parameters, lengths, merge)
            return y if settings["return_sequences"] else last

        add(case, kind, settings, function, x, **parameters)
        references.cases[case]["merge"] = merge
        if lengths is not None:
            references.arrays[f"{case}/lengths"] = lengths

    kinds = [("SimpleRNN", {}), ("SimpleRNN", {"activation": "relu"}), ("GRU", {}), ("LSTM", {})]
    for (kind, more), (rows, time, features, units) in itertools.product(kinds, [(3, 6, 2, 4), (1, 3, 1, 1)]):
        x, parameters = rng.normal(size=(rows, time, features)), draw_recurrent(rng, kind, features, units)
        padded = np.array([time, *rng.integers(1, time, rows - 1)])
        for returns, backwards, lengths in [(True, False, None), (True, True, None), (False, False, padded)]:
            settings = {"units": units, **more, "return_sequences": returns, "go_backwards": backwards}
            case = f"{kind} {rows}x{time}x{features} {settings}"
            add_case(case, kind, settings, None, x, parameters, lengths)
            if lengths is None and not backwards:
                variables = {name: torch.tensor(value) for name, value in parameters.items()}
                references.arrays[f"{case}/states"] = step_by_step(kind, settings, torch.tensor(x), variables)
    for (kind, more), merge in itertools.product(kinds, ["concatenate", "sum", "mean"]):
        drawn = {side: draw_recurrent(rng, kind, 2, 3) for side in ("forward", "backward")}
        parameters = {f"{side}/{name}": value for side, own in drawn.items() for name, value in own.items()}
        returns = merge != "sum"
        settings, lengths = {"units": 3, **more, "return_sequences": returns}, np.array([4, 5, 2])
        case = f"both ways {kind} {merge} {settings}"
        add_case(case, kind, settings, merge, rng.normal(size=(3, 5, 2)), parameters, lengths)
    return references


def sides_of(length, size, options):
    """Return how many zeros are before and after a sequence; "same" puts the larger half at the end."""
    span = getattr(options, "dilation", 1) * (size - 1) + 1
    stride = options.strides or size
    missing = max((-(-length // stride) - 1) * stride + span - length, 0)
    named = {"valid": (0, 0), "same": (missing // 2, missing - missing // 2), "causal": (span - 1, 0)}
    return named.get(options.padding) or options.padding


def convolution_1d(options, x, parameters):
    weight = parameters["weight"]
    sides = sides_of(x.shape[1], options.kernel_size, options)
    rest = parameters.get("bias"), options.strides, 0, options.dilation, x.shape[2] // weight.shape[1]
    return channels_last(lambda x: F.conv1d(F.pad(x, sides), weight.permute(2, 1, 0).contiguous(), *rest), x)


def max_pooling_1d(options, x, parameters):
    sides = sides_of(x.shape[1], options.pool_size, options)
    padded = F.pad(x, (0, 0, *sides), value=-torch.inf)
    return channels_last(lambda x: F.max_pool1d(x, options.pool_size, options.strides), padded)


def average_pooling_1d(options, x, parameters):
    sides = sides_of(x.shape[1], options.pool_size, options)

    def mean(x):
        padded = F.pad(x, (0, 0, *sides))
        return channels_last(lambda x: F.avg_pool1d(x, options.pool_size, options.strides), padded)

    return mean(x) / mean(torch.ones_like(x))  # over what lies within the sequence


# Of each layer, a function of its settings, its input and its parameters.
WINDOWS_OF_SEQUENCES = {
    "Conv1D": convolution_1d,
    "MaxPool1D": max_pooling_1d,
    "AveragePool1D": average_pooling_1d,
    "GlobalAveragePool1D": lambda options, x, parameters: x.mean(1),
    "GlobalMaxPool1D": lambda options, x, parameters: channels_last(lambda x: F.adaptive_max_pool1d(x, 1), x)[:, 0],
}


def make_windows_of_sequences() -> References:
    """Convolutions and poolings along time, with and without strides, padding, dilation and groups."""
    references, rng = References(), np.random.default_rng(21)
    add = adding_layers(references, rng)

    def add_layer(kind, shape, weight=None, **settings):
        parameters = {} if weight is None else {"weight": rng.normal(size=weight)}
        if settings.get("use_bias", True) and weight is not None:
            parameters["bias"] = rng.normal(size=weight[-1])
        defaults = {"strides": None if "pool_size" in settings else 1, "padding": "valid", "dilation": 1}
        options = SimpleNamespace(**defaults | settings)

        def function(x, **parameters):
            return WINDOWS_OF_SEQUENCES[kind](options, x, parameters)

        described = ", ".join(f"{name} {value}" for name, value in settings.items())
        add(f"{kind} of {shape}: {described}", kind, settings, function, rng.normal(size=shape), **parameters)

    for shape, settings in [
        ((2, 7, 2), {"kernel_size": 3}),
        ((1, 8, 4), {"kernel_size": 4, "padding": "same", "use_bias": False}),
        ((2, 9, 2), {"kernel_size": 3, "padding": "same", "strides": 2}),
        ((3, 6, 4), {"kernel_size": 3, "padding": "causal", "dilation": 2}),
        ((2, 7, 2), {"kernel_size": 2, "padding": "causal", "strides": 3}),
        ((1, 9, 2), {"kernel_size": 3, "padding": (3, 1), "strides": 2, "dilation": 3}),
        ((2, 5, 2), {"kernel_size": 1, "strides": 2}),
    ]:
        size, features = settings["kernel_size"], shape[2]
        add_layer("Conv1D", shape, (size, features, 3), filters=3, **settings)
        add_layer("Conv1D", shape, (size, features // 2, 4), filters=4, groups=2, **settings)
    for shape in [(2, 7, 2), (1, 8, 3)]:
        for kind in ("MaxPool1D", "AveragePool1D"):
            add_layer(kind, shape, pool_size=2)
            add_layer(kind, shape, pool_size=3, strides=2, padding="same")
            add_layer(kind, shape, pool_size=3, strides=1, padding=(1, 2))
        add_layer("GlobalAveragePool1D", shape)
        add_layer("GlobalMaxPool1D", shape)
    return references


FILES = {
    "layers": make_layers,
    "sequences_attention": make_attention,
    "losses": make_losses,
    "optimizers": make_optimizers,
    "initializers": make_initializers,
    "sequences_recurrent": make_recurrent,
    "sequences_windows": make_windows_of_sequences,
}


def main() -> None:
    """Check the pinned versions, and write all files."""
    for name, version, pin in (("torch", torch.__version__, TORCH), ("numpy", np.__version__, NUMPY)):
        if not version.startswith(pin):
            raise SystemExit(f"the references are made with {name} {pin}*, not {version}")
    for name, make in FILES.items():
        np.savez_compressed(FOLDER / f"{name}.npz", **make().contents())


if __name__ == "__main__":
    main()
