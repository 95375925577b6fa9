"""The evidence in an image for a class: by occlusion, and by gradient times input."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.errors import ArgumentError, DataError, ShapeError
from minidl.layers import Dropout, GaussianNoise
from minidl.plots.canvas import class_labels, fitted_title, tinted
from minidl.plots.distributions import check_set_up
from minidl.plots.grid import check_positive, draw_grid
from minidl.plots.images import as_images, stretched
from minidl.tables import as_labels
from minidl.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minidl.model import Sequential

_MOST_PLACES = 16
"""The most positions of the patch along an axis; in larger images it moves by several pixels."""


def plot_evidence(
    model: Any,
    images: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    patch: int | None = None,
    labels: Sequence[Any] | None = None,
    limit: int = 6,
    ax: Axes | None = None,
) -> Axes:
    """Draw images, and beside each the evidence for a class, computed in two ways: orange for, blue against the class.

    Occlusion: a gray patch hides one place after another. A pixel's evidence is the mean decrease of the class's
    probability while the patch hides it. Gradient times input: ``x ds / dx``, with the score s of the class before the
    softmax, summed over channels. Each picture has its own scale; the text below says what the strongest colour means.

    Parameters
    ----------
    model : Sequential
        A classifier. It does not change.
    images : array of shape (N, *input_shape)
        Gray or in three colours; flat ones must be square.
    targets : integers of shape (N,), in 0 .. K - 1, or one-hot rows of shape (N, K), optional
        The class of each image for which to show evidence; by default the predicted class.
    patch : int, > 0, optional
        Height and width of the gray patch, in pixels; by default a fifth of the image. Its colour is the image's mean.
    labels : sequence of K names, optional
        The names of the classes.
    limit : int, > 0, default 6
        Only the first `limit` images are drawn, and the title says so.
    ax : matplotlib Axes, optional

    Raises
    ------
    ShapeError
        If the arrays do not fit the model or each other, or the patch covers a whole image.
    DataError
        If an image holds numbers that are not finite, or a target is not a class.
    ArgumentError
        If the model is not a classifier, or `patch` or `limit` is not positive.
    ArgumentTypeError
        If `model` is not a Sequential model; NotReadyError if it has no parameters yet.

    Sources: Zeiler and Fergus (2013), arXiv:1311.2901; Shrikumar et al. (2016), arXiv:1605.01713.
    """
    check_set_up(model, "plot_evidence")
    check_positive(patch=patch, limit=limit)
    x = model.as_inputs(images)
    count = len(x)
    x = x[:limit]
    pictures = stretched(as_images(x))
    copied = copy.deepcopy(model)
    chances = _chances(copied, x)
    classes = chances.shape[1]
    chosen = chances.argmax(axis=1) if targets is None else class_labels("targets", targets, rows=count)[:limit]
    if strange := np.setdiff1d(chosen, np.arange(classes)).tolist():
        raise DataError(f"target {strange[0]!r} is not one of the classes 0 to {classes - 1}")
    names = np.arange(classes) if labels is None else as_labels(labels)
    if names.shape != (classes,):
        raise ShapeError(f"labels must name {classes} classes, not have shape {names.shape}")

    size = pictures.shape[1:3]
    patch = patch or max(round(min(size) / 5), 1)
    if patch >= min(size):
        raise ShapeError(f"a patch of {patch} pixels hides an image of {size[0]} x {size[1]}: give a smaller one")
    occlusions = [occlusion(copied, image, each, patch, size) for image, each in zip(x, chosen, strict=True)]
    gradients = gradient_times_input(copied, x, chosen).reshape(len(x), *size, -1).sum(axis=3)

    cells, captions = [], []
    for index, picture in enumerate(pictures):
        cells += [picture if picture.ndim == 3 else np.repeat(picture[..., np.newaxis], 3, axis=2)]
        captions += [f"{names[chosen[index]]} ({chances[index, chosen[index]]:.0%})"]
        for name, evidence in (
            ("occlusion", occlusions[index]),
            ("gradient \N{MULTIPLICATION SIGN} input", gradients[index]),
        ):
            strongest = float(np.abs(evidence).max())
            cells.append(_laid_over(picture, evidence / (strongest or 1)))
            captions.append(f"{name}\n± {strongest:.2g}")
    columns = 3 if len(x) <= 3 else 6
    drawn = draw_grid(cells, captions, columns, ax)
    shown = f"the first {limit:,} of {count:,} images; " if count > limit else ""
    fitted_title(drawn.axes, f"{shown}orange: for the class, blue: against it")
    return drawn.axes


def occlusion(model: Sequential, image: Array, target: int, patch: int, size: tuple[int, int]) -> Array:
    """Return the mean decrease of a class's probability while a patch hides each pixel: (height, width)."""
    pixels = image.reshape(*size, -1)
    gray = pixels.mean(axis=(0, 1))
    gray = gray if image.dtype.kind == "f" else np.rint(gray)
    tops, lefts = (_places(length - patch + 1) for length in size)
    fall, covered = np.zeros(size), np.zeros(size)
    before = _chances(model, image[np.newaxis])[0, target]
    for top in tops:
        hidden = np.repeat(pixels[np.newaxis], len(lefts), axis=0)
        for each, left in zip(hidden, lefts, strict=True):
            each[top : top + patch, left : left + patch] = gray
        after = _chances(model, hidden.reshape(-1, *image.shape))[:, target]
        for left, chance in zip(lefts, after, strict=True):
            fall[top : top + patch, left : left + patch] += before - chance
            covered[top : top + patch, left : left + patch] += 1
    return fall / covered


def gradient_times_input(model: Sequential, x: Array, targets: Array) -> Array:
    """Return ``x ds / dx`` for the score s of each row's class, in inference; it changes the model."""
    model.trainable = False  # batch normalization must use its running statistics
    for layer in model.walk():
        if isinstance(layer, Dropout | GaussianNoise):  # identities in inference
            vars(layer).update(forward=lambda x, training=False: x, backward=lambda dy: dy)
    model.needs_input_gradient = True
    scores = model.forward(x, training=True)
    dscores = np.zeros_like(scores)
    if scores.shape[1] == 1:  # the score of the second of two classes
        dscores[:, 0] = np.where(targets == 1, 1, -1)
    else:
        dscores[np.arange(len(x)), targets] = 1
    dx = model.backward(dscores)
    return x * dx if dx is not None else np.zeros(x.shape)


def _chances(model: Sequential, x: Array) -> Array:
    """Return probabilities (N, K), K > 1."""
    chances = model.predict_proba(x)
    if chances.ndim == 2 and chances.shape[1] == 1:
        chances = np.hstack([1 - chances, chances])
    if chances.ndim != 2:
        raise ArgumentError(f"the model gives probabilities of shape {chances.shape}, not (N, K) for K classes")
    return chances


def _places(count: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_PLACES)).round().astype(int)).tolist()


def _laid_over(picture: Array, evidence: Array) -> Array:
    """Colour a pale gray image by evidence in [-1, 1]."""
    gray = picture if picture.ndim == 2 else picture.mean(axis=2)
    return tinted(evidence) - (0.2 * (1 - gray) * (1 - np.abs(evidence)))[..., np.newaxis]
