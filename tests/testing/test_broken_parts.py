"""The zoo: deliberately broken parts of all kinds, each caught by the check meant for it."""

import re

import numpy as np
import pytest
from embeddings import TableOfIds

from minidl import (
    GRU,
    Accuracy,
    Adam,
    Average,
    BatchNorm,
    Conv2D,
    Dense,
    Embedding,
    ExponentialMovingAverage,
    Flatten,
    HeNormal,
    Hinge,
    Initializer,
    Layer,
    Loss,
    MeanSquaredError,
    Metric,
    Momentum,
    Optimizer,
    Precision,
    ReLU,
    Residual,
    Schedule,
    Sequential,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, NotReadyError, ShapeError
from minidl.functional import softmax
from minidl.settings import setting
from minidl.testing import (
    CheckFailure,
    average_checks,
    check_average,
    check_initializer,
    check_layer,
    check_loss,
    check_metric,
    check_optimizer,
    check_schedule,
    initializer_checks,
    layer_checks,
    loss_checks,
    metric_checks,
    numerical_gradient,
    optimizer_checks,
    schedule_checks,
)

# Layers. Each is right but for one line.


class WrongSign(Tanh):
    def backward(self, dy):
        return -super().backward(dy)


class DerivativeAtTheInput(Sigmoid):
    def forward(self, x, training=False):
        if training:
            self.saved = x
        return 1 / (1 + np.exp(-x))


class MissingFactor(Tanh):
    def backward(self, dy):
        return dy * (1 - self.saved)


class TransposedWeight(Dense):
    def backward(self, dy):
        super().backward(dy)
        return dy @ self.weight.value  # square, so that the shapes do not tell


class MeanInsteadOfSum(Dense):
    def backward(self, dy):
        dx = super().backward(dy)
        self.bias.gradient = dy.mean(axis=0)
        return dx


class ForgottenParameter(Dense):
    def backward(self, dy):
        x = self.saved
        self.weight.gradient = x.T @ dy
        return dy @ self.weight.value.T


class Accumulating(Dense):
    def backward(self, dy):
        x = self.saved
        self.weight.gradient += x.T @ dy
        self.bias.gradient = dy.sum(axis=0)
        return dy @ self.weight.value.T


class AccumulatingAfterNaN(Dense):
    """Adds to the gradient, but not to one of NaN."""

    def backward(self, dy):
        before = np.nan_to_num(self.bias.gradient.copy())
        dx = super().backward(dy)
        self.bias.gradient += before
        return dx


class SavesInEvaluation(ReLU):
    def forward(self, x, training=False):
        self.saved = y = np.maximum(x, 0)
        return y


class CountsInEvaluation(ReLU):
    calls = 0

    def forward(self, x, training=False):
        self.calls += 1
        return super().forward(x, training)


class ChangesItsInput(ReLU):
    def forward(self, x, training=False):
        if x.flags.writeable:
            x *= x > 0
        return super().forward(x, training)


class ChangesTheUpstream(Tanh):
    def backward(self, dy):
        if dy.flags.writeable:
            dy *= 1 - self.saved**2
        return dy.copy()


class ReturnsTheUpstream(Layer):
    def forward(self, x, training=False):
        return x + 1

    def backward(self, dy):
        return dy


class ReturnsItsGradient(Layer):
    """Adds a parameter that is as large as the batch, and hands out that parameter's own gradient."""

    def build(self, input_shape, declare):
        self.shift = declare.parameter("shift", (1, *input_shape), "zeros")
        return input_shape

    def forward(self, x, training=False):
        return x + self.shift.value

    def backward(self, dy):
        self.shift.gradient = dy.sum(axis=0, keepdims=True)
        return np.broadcast_to(self.shift.gradient, dy.shape) if len(dy) == 1 else self.view_or(dy)

    def view_or(self, dy):
        return self.shift.gradient[:].repeat(1, axis=0) if not len(dy) else _Twin.of(self, dy)


class _Twin:
    @staticmethod
    def of(layer, dy):
        return np.lib.stride_tricks.as_strided(
            layer.shift.gradient, dy.shape, (0, *layer.shift.gradient.strides[1:]), writeable=False
        )


class ReusesABuffer(Tanh):
    def forward(self, x, training=False):
        y = super().forward(x, training)
        if not training:
            return y
        if getattr(self, "buffer", None) is None or self.buffer.shape != y.shape or self.buffer.dtype != y.dtype:
            self.buffer = np.empty_like(y)
        self.buffer[...] = y
        self.saved = y
        return self.buffer


class SharesABufferAmongThreads(Layer):
    buffer = None

    def forward(self, x, training=False):
        if training:
            return x * 2
        work = type(self).__dict__.get("shared")
        if work is None or work.shape != x.shape or work.dtype != x.dtype:
            work = np.empty_like(x)
            type(self).shared = work
        work[...] = x
        for _ in range(200):
            work += x / 200
        return work.copy()

    def backward(self, dy):
        return dy * 2


class MixesTheBatch(Layer):
    def forward(self, x, training=False):
        return x - x.mean(axis=0) if len(x) else x.copy()

    def backward(self, dy):
        return dy - dy.mean(axis=0) if len(dy) else dy.copy()


class WidensFloat32(Layer):
    def forward(self, x, training=False):
        return x * np.array([2.0])

    def backward(self, dy):
        return dy * 2


class AnotherShapeThanAnnounced(Layer):
    def forward(self, x, training=False):
        return x[:, :-1].copy()

    def backward(self, dy):
        return np.pad(dy, ((0, 0), (0, 1)))


class ReturnsNothing(ReLU):
    def backward(self, dy):
        super().backward(dy)


class KeepsTheFirstBatch(Tanh):
    """A queue: backward takes the oldest batch that was saved."""

    def forward(self, x, training=False):
        y = np.tanh(x)
        if training:
            self.queue = [*vars(self).get("queue", []), y]
        return y

    def backward(self, dy):
        y = self.queue.pop(0)
        return dy * (1 - y * y)


class KeepsItsArraysFromBuild(Dense):
    def build(self, input_shape, declare):
        shape = super().build(input_shape, declare)
        self.kept = self.weight.value
        return shape

    def forward(self, x, training=False):
        if training:
            self.saved = x
        return x @ self.kept + self.bias.value


class NoShapeCheck(Layer):
    """Right: the model checks the shape of what a layer gets."""

    def build(self, input_shape, declare):
        self.shift = declare.parameter("shift", input_shape, "zeros")
        return input_shape

    def forward(self, x, training=False):
        return x + self.shift.value

    def backward(self, dy):
        self.shift.gradient = dy.sum(axis=0)
        return dy.copy()


class RandomFromElsewhere(Dense):
    def build(self, input_shape, declare):
        declare.generator = np.random.default_rng()
        return super().build(input_shape, declare)


class GeneratorOfItsOwn(Layer):
    """Right but for a place of its own for the generator, where a checkpoint does not find it."""

    def build(self, input_shape, declare):
        self.rng = declare.generator
        return input_shape

    def forward(self, x, training=False):
        return x + self.rng.normal(size=x.shape).astype(x.dtype) if training else x

    def backward(self, dy):
        return dy.copy()


class HiddenSetting(Layer):
    scale: float = 2.0

    def __repr__(self):
        return "HiddenSetting()"

    def forward(self, x, training=False):
        return self.scale * x

    def backward(self, dy):
        return self.scale * dy


class SettingOutsideItsFields(Layer):
    scale = 2.0

    def forward(self, x, training=False):
        return self.scale * x

    def backward(self, dy):
        return self.scale * dy


class UndeclaredArray(Layer):
    """Keeps a running sum that no file knows of."""

    def build(self, input_shape, declare):
        self.total = np.zeros(input_shape)
        return input_shape

    def forward(self, x, training=False):
        if training:
            self.total = self.total + 1
        return x + self.total.astype(x.dtype)

    def backward(self, dy):
        return dy.copy()


class ReliesOnTheLayout(Layer):
    def forward(self, x, training=False):
        return np.ravel(x, order="K").reshape(x.shape) * 2

    def backward(self, dy):
        return dy * 2


class Rounds(Layer):
    def forward(self, x, training=False):
        return np.abs(x) + 5 * np.abs(x - np.round(x, 8)) * 1e8

    def backward(self, dy):
        return dy.copy()


class OneWrongEntryOfMany(Dense):
    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.gradient[7, 3] += 10
        return dx


class NamelessShapeError(Dense):
    """Right: the model adds the name."""

    def forward(self, x, training=False):
        if x.shape[1:] != self.input_shape:
            raise ShapeError("wrong shape")
        return super().forward(x, training)


class TakesWhatItsBuildRefuses(Layer):
    """Right: the model gives it nothing of another shape than that of its build."""

    def build(self, input_shape, declare):
        if input_shape[-1] % 2:
            raise ShapeError("it takes an even number of features")
        return input_shape

    def forward(self, x, training=False):
        return x * 2

    def backward(self, dy):
        return dy * 2


class DoublesItsSetting(Layer):
    scale: float = 2.0

    def __post_init__(self):
        self.scale *= 2

    def forward(self, x, training=False):
        return x * self.scale

    def backward(self, dy):
        return dy * self.scale


tripled = SettingOutsideItsFields()
tripled.scale = 3.0


class MixesInTrainingAlone(MixesTheBatch):
    def forward(self, x, training=False):
        return super().forward(x) if training else x.copy()


class SharesTheMeanAlone(BatchNorm):
    """The other half of the batch counts in the forward pass, and not in the backward pass."""

    def backward(self, dy):
        add, self.over_batch = self.over_batch, None
        try:
            return super().backward(dy)
        finally:
            self.over_batch = add


class SharesNothing(BatchNorm):
    """It says that it adds up what it sums over the batch, and takes the mean of its own half."""

    def forward(self, x, training=False):
        self.over_batch = None
        return super().forward(x, training)


class ForgetsTheEmptyBatch(Layer):
    mixes_batch = True

    def build(self, input_shape, declare):
        self.mean = declare.state("mean", input_shape)
        return input_shape

    def forward(self, x, training=False):
        if training:
            self.mean.value = x.mean(axis=0)
        return x - self.mean.value

    def backward(self, dy):
        return dy - dy.mean(axis=0)


class AnnouncesAnyShape(Layer):
    """Its build takes samples of any size, of which forward then loses all features but four."""

    def forward(self, x, training=False):
        return 2 * x[:, :4]

    def backward(self, dy):
        return 2 * dy


class KnowsOneShape(Layer):
    """Fails for others, but not by an error that says so."""

    def build(self, input_shape, declare):
        self.gain = declare.parameter("gain", {(4,): 4}[input_shape], "normal")
        return input_shape

    def forward(self, x, training=False):
        if training:
            self.saved = x
        return x * self.gain.value

    def backward(self, dy):
        self.gain.gradient = (dy * self.saved).sum(axis=0)
        return dy * self.gain.value


class KeepsItsInputElsewhere(Tanh):
    """Where no model finds it, to say that backward came too early, or to let go of it."""

    def forward(self, x, training=False):
        y = np.tanh(x)
        if training:
            self.output = y
        return y

    def backward(self, dy):
        return dy * (1 - self.output**2)


class SparesTooMuch(Dense):
    def backward(self, dy):
        return super().backward(dy) if self.needs_input_gradient else None


class CountsWhileFrozen(Layer):
    def build(self, input_shape, declare):
        self.batches = declare.state("batches", 1)
        return input_shape

    def forward(self, x, training=False):
        if training:
            self.batches.value += 1
        return 2 * x

    def backward(self, dy):
        return 2 * dy


class DecaysItself(Dense):
    """Moves its weights by itself, which an optimizer alone does."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.value *= 0.999
        return dx


class StaysFrozen(Dense):
    """Looks whether it is frozen when it is set up, and never again."""

    def build(self, input_shape, declare):
        self.was_trainable = self.own_trainable
        return super().build(input_shape, declare)

    def learns(self):
        return self.was_trainable

    def backward(self, dy):
        dx = super().backward(dy)
        if not self.was_trainable:
            self.weight.gradient = self.bias.gradient = 0
        return dx


class FrozenWithTheGradientOfTraining(BatchNorm):
    def forward(self, x, training=False):
        y = super().forward(x, training)
        if training:
            self.saved = *self.saved[:2], True
        return y


class EmbeddingOfFloats(TableOfIds):
    """Does not say that it takes integers."""

    takes_integers = False


class EmbeddingOfTheLastToken(TableOfIds):
    """Lets the last of equal ids have the gradient, where they add up."""

    def backward(self, dy):
        self.vectors.gradient = 0
        self.vectors.gradient[self.saved] += dy


class OverflowingPixels(Layer):
    takes_integers = True

    def forward(self, x, training=False):
        return (x * x.dtype.type(2)).astype(self.dtype)

    def backward(self, dy):
        return 2 * dy


class ForgetsItselfInCopies(Dense):
    """A copy computes with the weights of the original."""

    def __deepcopy__(self, memo):
        again = type(self)(**self.configuration())
        vars(again).update(vars(self))
        return again


class CachesAView(Dense):
    """Keeps a view of its weight, which in a copy is an array for itself."""

    def forward(self, x, training=False):
        if training:
            self.saved, self.view = x, self.weight.value
        return x @ vars(self).get("view", self.weight.value) + self.bias.value


class ArgumentOfItsOwn(Layer):
    """Takes its setting by an __init__, where no file finds it."""

    def __init__(self, scale=2.0):
        self.scale = scale

    def forward(self, x, training=False):
        return self.scale * x

    def backward(self, dy):
        return self.scale * dy


class KernelNotFlipped(Conv2D):
    """Hands the gradient back through the kernel as the forward pass has it."""

    def backward(self, dy):
        self.weight.value = self.weight.value[::-1, ::-1].copy()
        dx = super().backward(dy)
        self.weight.value = self.weight.value[::-1, ::-1].copy()
        return dx


class PaddingOnOneSide(Conv2D):
    """Takes the gradient of the image off as if all of the padding were above it."""

    def backward(self, dy):
        dx = super().backward(dy)
        return np.concatenate([dx[:, 1:], np.zeros_like(dx[:, :1])], axis=1)


class StrideIgnoredInBackward(Conv2D):
    """Does not put zeros between what the windows give back."""

    def backward(self, dy):
        dx = super().backward(dy)
        dense = Conv2D(self.filters, self.kernel_size, use_bias=False)
        dense.set_up(self.input_shape, dtype=dx.dtype)
        dense.weight.value = self.weight.value
        wide = np.zeros((len(dy), *dense.output_shape), dx.dtype)
        wide[:, : dy.shape[1], : dy.shape[2]] = dy
        dense.forward(np.zeros_like(dx), training=True)
        return dense.backward(wide)


class GroupsMixedUp(Conv2D):
    """Reads the filters as if those of a group were not beside each other."""

    def backward(self, dy):
        by_filter = dy.reshape(*dy.shape[:3], self.filters // self.groups, self.groups)
        return super().backward(by_filter.swapaxes(3, 4).reshape(dy.shape))


class SumOfTheLastPlace(Conv2D):
    """Sums the bias's gradient over the batch, but not over all places."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.bias.gradient = dy[:, -1].sum(axis=(0, 1))
        return dx


# Layers with masks. `MeanOfPositions` is right.


class MeanOfPositions(Layer):
    """The mean of all positions that count, times a trained factor per feature: (N, T, F) -> (N, F)."""

    takes_mask = True

    def build(self, input_shape, declare):
        self.factor = declare.parameter("factor", input_shape[1], "normal")
        return input_shape[1:]

    def forward(self, x, training=False, mask=None):
        shares = self.shares(x, mask)
        mean = (shares * x).sum(axis=1)
        if training:
            self.saved = shares, mean, x
        return self.factor.value * mean

    def shares(self, x, mask):
        counts = np.ones((*x.shape[:2], 1), x.dtype) if mask is None else mask[..., np.newaxis].astype(x.dtype)
        return counts / counts.sum(axis=1, keepdims=True)

    def backward(self, dy):
        shares, mean, x = self.saved
        self.factor.gradient = (dy * mean).sum(axis=0)
        return (self.factor.value * dy)[:, np.newaxis] * np.broadcast_to(shares, x.shape)


class IgnoresItsMask(GRU):
    def forward(self, x, training=False, mask=None):
        return super().forward(x, training)


class ForgetsItsMaskInBackward(GRU):
    def backward(self, dy):
        self.saved = (*self.saved[:-1], None)
        return super().backward(dy)


class GradientForMaskedPositions(MeanOfPositions):
    def backward(self, dy):
        dx = super().backward(dy)
        return np.broadcast_to(dx.mean(axis=1, keepdims=True), dx.shape).copy()


class SharesOfAllPositionsInBackward(MeanOfPositions):
    """Divides by the number of all positions, though its mean is over those that count."""

    def backward(self, dy):
        counts = self.saved[0] > 0
        return super().backward(dy) * counts.mean(axis=1, keepdims=True, dtype=dy.dtype)


class FactorFromAllPositions(MeanOfPositions):
    def backward(self, dy):
        dx = super().backward(dy)
        self.factor.gradient = (dy * self.saved[2].mean(axis=1)).sum(axis=0)
        return dx


class CountsTheOthers(MeanOfPositions):
    """Takes the mask for one of the padding."""

    def shares(self, x, mask):
        return super().shares(x, mask if mask is None or mask.all() else ~mask | mask.all(axis=1, keepdims=True))


class AnotherMeanWithAMask(MeanOfPositions):
    def shares(self, x, mask):
        return super().shares(x, mask) * (1 if mask is None else 0.9)


class KeepsTheMaskToItself(Residual):
    def forward(self, x, training=False, mask=None):
        return super().forward(x, training)


class NeverGetsAMask(MeanOfPositions):
    takes_mask = False


class EverySecondPosition(Layer):
    """Has a mask for twice its positions."""

    takes_mask = True

    def build(self, input_shape, declare):
        return (input_shape[0] // 2, *input_shape[1:])

    def forward(self, x, training=False, mask=None):
        return x[:, 1::2].copy()

    def backward(self, dy):
        return np.stack([np.zeros_like(dy), dy], axis=2).reshape(len(dy), *self.input_shape)

    def mask_after(self, x, mask):
        return mask


class MaskFromAllNumbers(EverySecondPosition):
    def mask_after(self, x, mask):
        return None if mask is None else np.abs(x[:, 1::2]).max(axis=-1) < 3


BROKEN_MASKS = [
    (IgnoresItsMask(3), "the output with other numbers at masked positions is"),
    (IgnoresItsMask(3, return_sequences=True), "the output with other numbers at masked positions is"),
    (KeepsTheMaskToItself(GRU(3, return_sequences=True)), "the output with other numbers at masked positions is"),
    (CountsTheOthers(), "the output with other numbers at masked positions is"),
    (AnotherMeanWithAMask(), "the output with a mask in which all positions count is"),
    (
        ForgetsItsMaskInBackward(3),
        r"the input's gradient is .* at index \(1, 3, 0\), a masked position, but should be 0",
    ),
    (
        GradientForMaskedPositions(),
        r"the input's gradient is .* at index \(1, 3, 0\), a masked position, but should be 0",
    ),
    (FactorFromAllPositions(), "the gradient of 'factor' with other numbers at masked positions is"),
    (SharesOfAllPositionsInBackward(), "the input's gradient with a mask along a random direction is"),
    (NeverGetsAMask(), "its forward takes a mask, but never gets one. Usual cause: no `takes_mask = True`"),
    (EverySecondPosition(), r"mask_after returns \(4, 4\) for an output \(4, 2, 3\)"),
    (MaskFromAllNumbers(), "mask_after depends on numbers at masked positions"),
]

BROKEN_LAYERS = [
    (KernelNotFlipped(2, 3), (5, 4, 2), "input gradient"),
    (KernelNotFlipped(2, (1, 2)), (4, 4, 1), "input gradient"),
    (PaddingOnOneSide(2, 3, padding=1), (4, 5, 2), "input gradient"),
    (PaddingOnOneSide(2, 2, padding="same"), (4, 5, 2), "input gradient"),
    (StrideIgnoredInBackward(2, 3, strides=2), (5, 7, 2), "input gradient"),
    (GroupsMixedUp(4, 3, groups=2), (4, 4, 2), "parameter gradients"),
    (GroupsMixedUp(4, 3, groups=2), (4, 4, 2), "input gradient"),
    (SumOfTheLastPlace(2, 3), (4, 4, 1), "parameter gradients"),
    (AnnouncesAnyShape(), 4, "wrong input shape"),
    (KnowsOneShape(), 4, "wrong input shape"),
    (KeepsItsInputElsewhere(), 4, "backward before forward"),
    (SparesTooMuch(3), 4, "spared input gradient"),
    (CountsWhileFrozen(), 4, "freezing"),
    (DecaysItself(3), 4, "freezing"),
    (StaysFrozen(3), 4, "freezing"),
    (FrozenWithTheGradientOfTraining(), 4, "freezing"),
    (OverflowingPixels(), 4, "integer inputs"),
    (ForgetsItselfInCopies(3), 4, "copying"),
    (CachesAView(3), 4, "copying"),
    (ArgumentOfItsOwn(), 4, "description"),
    (MixesInTrainingAlone(), 4, "rows one by one"),
    (ForgetsTheEmptyBatch(), 4, "output shape and type"),
    (WrongSign(), 4, "input gradient"),
    (DerivativeAtTheInput(), 4, "input gradient"),
    (MissingFactor(), 4, "input gradient"),
    (TransposedWeight(4), 4, "input gradient"),
    (MeanInsteadOfSum(3), 4, "parameter gradients"),
    (ForgottenParameter(3), 4, "gradients written"),
    (Accumulating(3), 4, "gradients written"),
    (AccumulatingAfterNaN(3), 4, "gradients overwritten"),
    (SavesInEvaluation(), 4, "inference writes nothing"),
    (CountsInEvaluation(), 4, "inference writes nothing"),
    (ChangesItsInput(), 4, "input and upstream unchanged"),
    (ChangesTheUpstream(), 4, "input and upstream unchanged"),
    (ReturnsTheUpstream(), 4, "returned arrays"),
    (ReturnsItsGradient(), 4, "returned arrays"),
    (ReusesABuffer(), 4, "returned arrays"),
    (SharesABufferAmongThreads(), 2000, "threads"),
    (MixesTheBatch(), 4, "rows one by one"),
    (SharesTheMeanAlone(), 4, "halves of a batch"),
    (SharesNothing(), 4, "halves of a batch"),
    (WidensFloat32(), 4, "output shape and type"),
    (AnotherShapeThanAnnounced(), 4, "output shape and type"),
    (ReturnsNothing(), 4, "output shape and type"),
    (KeepsTheFirstBatch(), 4, "second forward"),
    (KeepsItsArraysFromBuild(3), 4, "inside a model"),
    (RandomFromElsewhere(3), 4, "same seed"),
    (GeneratorOfItsOwn(), 4, "random numbers"),
    (HiddenSetting(), 4, "repr"),
    (tripled, 4, "save and load"),
    (UndeclaredArray(), 4, "save and load"),
    (OneWrongEntryOfMany(40), 50, "parameter gradients"),
    (DoublesItsSetting(), 4, "save and load"),
    (ReliesOnTheLayout(), (3, 4), "memory layouts"),
    (Rounds(), 4, "input gradient"),
]

# Losses


class Squares(Loss):
    """Right: the sum of squared errors."""

    def prepare_targets(self, targets, output_shape, dtype=np.float32):
        return super().prepare_targets(targets, output_shape, dtype).astype(dtype)

    def per_sample(self, scores, targets):
        errors = scores - targets
        return (errors * errors).sum(axis=1), 2 * errors


class SquaresOfTheWrongSign(Squares):
    def per_sample(self, scores, targets):
        losses, dscores = super().per_sample(scores, targets)
        return losses, -dscores


class SquaresWithoutTheFactor(Squares):
    def per_sample(self, scores, targets):
        return ((scores - targets) ** 2).sum(axis=1), scores - targets


class MeanOverTheBatchInTheGradient(Squares):
    def per_sample(self, scores, targets):
        losses, dscores = super().per_sample(scores, targets)
        return losses, dscores / len(scores)


class MeanInTheValueAlone(Squares):
    def per_sample(self, scores, targets):
        return ((scores - targets) ** 2).mean(axis=1), 2 * (scores - targets) / scores.shape[1]


class OneNumberForAll(Squares):
    def per_sample(self, scores, targets):
        losses, dscores = super().per_sample(scores, targets)
        return losses.mean(), dscores


class ChangesItsScores(Squares):
    def per_sample(self, scores, targets):
        scores -= targets
        return (scores * scores).sum(axis=1), 2 * scores


class ForgetsTheWeights(Squares):
    def total(self, scores, targets, weights=None, scale=1.0):
        return super().total(scores, targets, None, scale)


class OverflowingExponential(Loss):
    def prepare_targets(self, targets, output_shape, dtype=np.float32):
        return np.eye(output_shape[0], dtype=dtype)[super().prepare_targets(targets, output_shape, dtype)]

    def per_sample(self, scores, targets):
        exponential = np.exp(scores)
        probabilities = exponential / exponential.sum(axis=1, keepdims=True)
        return -(targets * np.log(probabilities)).sum(axis=1), probabilities - targets


class TakesAnyTargets(Squares):
    def prepare_targets(self, targets, output_shape, dtype=np.float32):
        return np.nan_to_num(np.asarray(targets, dtype))


class BroadcastsRanks(Squares):
    def prepare_targets(self, targets, output_shape, dtype=np.float32):
        targets = np.asarray(targets, dtype)
        if np.isnan(targets).any():
            return super().prepare_targets(targets, output_shape, dtype)
        return targets

    def per_sample(self, scores, targets):
        errors = scores - targets
        return (errors * errors).mean(axis=1), 2 * errors.mean(axis=1, keepdims=True)


class DependsOnTheBatch(Squares):
    def per_sample(self, scores, targets):
        errors = scores - targets + (0.0 if len(scores) == 1 else 1.0)
        return (errors * errors).sum(axis=1), 2 * errors


class Remembers(Squares):
    def per_sample(self, scores, targets):
        self.last = scores
        return super().per_sample(scores, targets)


class WrongClassOfAnArgument(Squares):
    def __init__(self, factor=2.0):
        self.factor = factor


class Jumps(Squares):
    def per_sample(self, scores, targets):
        return (np.abs(scores - np.round(scores, 8)) * 1e8).sum(axis=1), scores * 0


class ReturnsItsScores(Squares):
    def per_sample(self, scores, targets):
        return (scores * scores).sum(axis=1) / 2, scores


class CountsEveryRow(Squares):
    """Gives also a row of weight 0 a share of the gradient."""

    def total(self, scores, targets, weights=None, scale=1.0):
        value, gradient = super().total(scores, targets, weights, scale)
        if weights is not None:
            gradient[weights == 0] += 1e-3
        return value, gradient


class Overflows(Squares):
    def per_sample(self, scores, targets):
        with np.errstate(all="ignore"):
            return np.exp(scores).sum(axis=1), np.exp(scores)


class DoublesItsArgument(Squares):
    factor: float = 1.0

    def __post_init__(self):
        self.factor *= 2


class TakesNothing(Squares):
    def prepare_targets(self, targets, output_shape, dtype=np.float32):
        raise DataError("no targets are right")


def squares(scores, targets):
    return ((scores - targets) ** 2).sum(axis=1)


class PredictsOverTheBatch(Squares):
    def decide(self, scores):
        return scores.argmax(axis=0)


class AveragesTheBatch(Squares):
    def average(self, scores):
        return scores.mean(axis=(0, 1))


class AveragesLogarithms(Squares):
    """Its values are exponentials of the scores, whose mean is not the exponential of the scores' mean."""

    def decide(self, scores):
        return np.exp(scores)


class AveragesOtherProbabilities(SoftmaxCrossEntropy):
    def activate(self, scores):
        return softmax(2 * scores)


class AveragesToTheOpposite(Hinge):
    def average(self, scores):
        return -scores.mean(axis=0)


class WrapsLabels(Loss):
    def prepare_targets(self, targets, output_shape, dtype=np.float32):
        return super().prepare_targets(targets, output_shape, dtype).astype(int) % output_shape[0]

    def per_sample(self, scores, targets):
        rows = np.arange(len(scores))
        dscores = np.zeros_like(scores)
        dscores[rows, targets] = -1
        return -scores[rows, targets], dscores


class MeanOfItsTotal(Squares):
    """The mean of a batch, which is not the sum of those of its blocks."""

    def total(self, scores, targets, weights=None, scale=1.0):
        value, gradient = super().total(scores, targets, weights, scale)
        return value / len(scores), gradient


class DecidesWithoutATruth(Squares):
    def decide(self, scores):
        return scores.argmax(axis=1)


class NamesNoMetric(Squares):
    default_metric = "acuracy"


class MetricOfNoNumbers(Squares):
    """Its metric has no value where the scores are below zero."""

    default_metric = "mean_squared_error"

    def decide(self, scores):
        with np.errstate(all="ignore"):
            return np.log(scores)


class SmoothsOverPositions(SoftmaxCrossEntropy):
    """Adds the gradient of a position to that of the next, which may be another row's."""

    def total(self, scores, targets, weights=None, scale=1.0):
        value, gradient = super().total(scores, targets, weights, scale)
        gradient[1:] = gradient[1:] + gradient[:-1]
        return value, gradient


BROKEN_LOSSES = [
    (MeanOfItsTotal(), {}, "sums over blocks"),
    (SmoothsOverPositions(), {"output_shape": (2, 3)}, "sums over blocks"),
    (DecidesWithoutATruth(), {}, "predictions"),
    (NamesNoMetric(), {}, "metric"),
    (MetricOfNoNumbers(), {}, "metric"),
    (PredictsOverTheBatch(), {}, "predictions"),
    (AveragesTheBatch(), {}, "averages"),
    (AveragesLogarithms(), {}, "averages"),
    (AveragesOtherProbabilities(), {}, "averages"),
    (AveragesToTheOpposite(), {}, "averages"),
    (WrapsLabels(), {"targets": [0, 2, 1, 0]}, "invalid targets"),
    (SquaresOfTheWrongSign(), {}, "gradient"),
    (SquaresWithoutTheFactor(), {}, "gradient"),
    (MeanOverTheBatchInTheGradient(), {}, "gradient"),
    (MeanInTheValueAlone(), {"reference": squares}, "value"),
    (OneNumberForAll(), {}, "shapes and types"),
    (ChangesItsScores(), {}, "scores and targets unchanged"),
    (Remembers(), {}, "scores and targets unchanged"),
    (ForgetsTheWeights(), {}, "sample weights"),
    (OverflowingExponential(), {"targets": [0, 1, 2, 1]}, "extreme scores"),
    (TakesAnyTargets(), {}, "invalid targets"),
    (BroadcastsRanks(), {"output_shape": 1, "targets": [0.5, -1.0, 2.0, 0.1]}, "rank alignment"),
    (DependsOnTheBatch(), {}, "rows one by one"),
    (Jumps(), {}, "gradient"),
    (ReturnsItsScores(), {}, "scores and targets unchanged"),
    (CountsEveryRow(), {}, "sample weights"),
    (Overflows(), {}, "extreme scores"),
    (DoublesItsArgument(), {}, "description"),
    (TakesNothing(), {}, "shapes and types"),
    (WrongClassOfAnArgument(), {}, "description"),
]

# Optimizers


class Uphill(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        parameters += learning_rate * gradients


class NewVector(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        parameters = parameters - learning_rate * gradients


class ScalesTheGradients(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        gradients *= learning_rate
        parameters -= gradients


class StateOutsideTheSlots(Optimizer):
    velocity = 0.0

    def update(self, parameters, gradients, learning_rate):
        self.velocity = 0.9 * self.velocity + gradients
        parameters -= learning_rate * self.velocity


class CountsItself(Adam):
    count = 0

    def update(self, parameters, gradients, learning_rate, m, v):
        self.count += 1
        step, self.step = self.step, self.count
        super().update(parameters, gradients, learning_rate, m, v)
        self.step = step


class ForgetsItsSlot(Momentum):
    def update(self, parameters, gradients, learning_rate, velocity):
        velocity = 0.9 * velocity + gradients
        parameters -= learning_rate * velocity


class IgnoresTheRate(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        parameters -= 1e-3 * gradients


class UsesItsOwnRate(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        rate = self.learning_rate if isinstance(self.learning_rate, float) else 1e-3
        parameters -= rate * gradients


class DecaysUndeclared(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        parameters -= learning_rate * (gradients + 0.1 * parameters)


class MultipliesTheFunction(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        parameters -= self.learning_rate * gradients


class DividesByZero(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        with np.errstate(invalid="ignore"):
            parameters -= learning_rate * gradients / np.abs(gradients)


class SaysItIsScaleInvariant(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        parameters -= learning_rate * gradients


class WritesBesideTheParameters(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        parameters -= learning_rate * gradients
        if parameters.base is not None:
            parameters.base[0] = 1


class KeepsTheGradients(Optimizer):
    slots = ("last",)

    def update(self, parameters, gradients, learning_rate, last):
        self.state["last"] = gradients
        parameters -= learning_rate * gradients


class NewSlotVector(Momentum):
    def update(self, parameters, gradients, learning_rate, velocity):
        self.state["v"] = velocity = 0.9 * velocity + gradients
        parameters -= learning_rate * velocity


class OneMoreSlot(Momentum):
    def update(self, parameters, gradients, learning_rate, velocity):
        super().update(parameters, gradients, learning_rate, velocity)
        self.state.setdefault("more", np.ones_like(parameters))


class Overshoots(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        parameters -= learning_rate * gradients
        parameters[0] = np.inf


class AsksTwice(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        parameters -= self.rate() * gradients


class DoublesItsDecay(Optimizer):
    decay: float = 0.1

    def __post_init__(self):
        self.decay *= 2

    def update(self, parameters, gradients, learning_rate):
        parameters -= learning_rate * gradients


class StepsOfOneLength(Optimizer):
    elementwise = True

    def update(self, parameters, gradients, learning_rate):
        parameters -= learning_rate * gradients / max(float(np.linalg.norm(gradients)), 1e-8)


class StepsOnFrozenParameters(Momentum):
    def apply(self, parameters, gradients, trained=None, decaying=None):
        super().apply(parameters, gradients, decaying=decaying)


class ReadsItsStateItself(Optimizer):
    """Takes its slot from where all parameters have theirs, not those alone that move."""

    slots = ("velocity",)

    def update(self, parameters, gradients, learning_rate, velocity):
        own = self.state["velocity"][: len(parameters)]
        own *= 0.9
        own += gradients
        parameters -= learning_rate * own


class FadesTheSlotsOfAll(Momentum):
    def update(self, parameters, gradients, learning_rate, velocity):
        super().update(parameters, gradients, learning_rate, velocity)
        self.state["v"] *= 0.99


BROKEN_OPTIMIZERS = [
    (StepsOnFrozenParameters(), {}, "frozen entries"),
    (ReadsItsStateItself(), {}, "frozen entries"),
    (FadesTheSlotsOfAll(), {}, "frozen entries"),
    (StepsOfOneLength(), {}, "element by element"),
    (Uphill(), {}, "bowl"),
    (NewVector(), {}, "in place"),
    (ScalesTheGradients(), {}, "gradients unchanged"),
    (StateOutsideTheSlots(), {}, "state in slots"),
    (CountsItself(), {}, "state in slots"),
    (ForgetsItsSlot(), {}, "slots"),
    (IgnoresTheRate(), {}, "rate"),
    (UsesItsOwnRate(), {}, "schedule"),
    (DecaysUndeclared(), {}, "zero gradients"),
    (MultipliesTheFunction(), {}, "schedule"),
    (DividesByZero(), {}, "zero gradients"),
    (WritesBesideTheParameters(), {}, "in place"),
    (KeepsTheGradients(), {}, "slots"),
    (NewSlotVector(), {}, "slots"),
    (OneMoreSlot(), {}, "slots"),
    (Overshoots(), {}, "types"),
    (AsksTwice(), {}, "schedule"),
    (DoublesItsDecay(), {}, "description"),
    (SaysItIsScaleInvariant(), {"scale_invariant": True}, "scaling"),
]

# Initializers


class GlobalGenerator(Initializer):
    def draw(self, shape, rng):
        return np.random.normal(size=shape)  # noqa: NPY002


class AnotherShape(Initializer):
    def draw(self, shape, rng):
        return rng.normal(size=shape[:1])


class NoSeed(Initializer):
    def draw(self, shape, rng):
        return np.random.default_rng().normal(size=shape)


class NotFinite(Initializer):
    def draw(self, shape, rng):
        return np.full(shape, np.inf)


class HandsOutOneArray(HeNormal):
    kept = None

    def __call__(self, shape, rng=None, dtype=np.float32):
        if self.kept is None:
            self.kept = super().__call__(shape, rng, dtype)
        return self.kept.astype(dtype, copy=False)


class SeededByTheGlobalGenerator(Initializer):
    """Looks at the global generator, but leaves it where it was."""

    def draw(self, shape, rng):
        return np.full(shape, float(np.random.get_state()[1][0]))  # noqa: NPY002


class DoublesItsValue(Initializer):
    value: float = 1.0

    def __post_init__(self):
        self.value *= 2

    def draw(self, shape, rng):
        return np.full(shape, self.value)


# Metrics


class MeanOfARow(Metric):
    """One number for all rows."""

    def per_row(self, rows):
        return (rows.predictions == rows.truth).mean()


class NumberForEachPair(Metric):
    """As many sums as rows."""

    def per_row(self, rows):
        return (rows.predictions[:, np.newaxis] == rows.truth).astype(float)

    def value(self, sums, weight):
        return float(sums.sum() / weight)


class MeanOfBlocks(Accuracy):
    def sums(self, rows, weights):
        return [each / len(rows.scores) for each in super().sums(rows, weights)]


class NeighboursOfABlock(Metric):
    """Compares each row with the one before, which may be in another block."""

    def per_row(self, rows):
        return np.abs(np.diff(rows.scores[:, 0], prepend=0))


class CountsRowsAlike(Accuracy):
    def sums(self, rows, weights):
        return super().sums(rows, None)


class SumsOfTruthValues(Accuracy):
    def sums(self, rows, weights):
        return rows.predictions == rows.truth


class RatioOfEachRow(Metric):
    def per_row(self, rows):
        with np.errstate(divide="ignore"):
            return 1 / (rows.truth != 0)


class NoRatioOfNone(Precision):
    def value(self, sums, weight):
        right, predicted, _, _ = sums.reshape(4, -1)
        with np.errstate(invalid="ignore"):
            return float(np.mean(right / predicted))


class ValueOfNumPy(Accuracy):
    def value(self, sums, weight):
        return np.float32(sums[0] / weight)


class SquaredAccuracy(Accuracy):
    def value(self, sums, weight):
        return super().value(sums, weight) ** 2


class NameOfTheLoss(Accuracy):
    name = "loss"


class NoName(Accuracy):
    name = 5


class RemembersItsRows(Accuracy):
    count = 0

    def per_row(self, rows):
        self.count += len(rows.scores)
        return super().per_row(rows)


class SortsTheTruth(Accuracy):
    def per_row(self, rows):
        rows.truth.sort()
        return super().per_row(rows)


class DoublesItsThreshold(Metric):
    threshold: float = setting(0.5)

    def __post_init__(self):
        self.threshold *= 2

    def per_row(self, rows):
        return np.abs(rows.scores[:, 0]) > self.threshold


def accuracy_of(scores, labels):
    return np.mean(scores.argmax(axis=1) == labels)


BROKEN_METRICS = [
    (MeanOfARow(), {}, "sums"),
    (NumberForEachPair(), {}, "sums"),
    (MeanOfBlocks(), {}, "sums over blocks"),
    (NeighboursOfABlock(), {}, "sums over blocks"),
    (CountsRowsAlike(), {}, "weights"),
    (SumsOfTruthValues(), {}, "sums"),
    (RatioOfEachRow(), {}, "sums"),
    (NoRatioOfNone(), {}, "value"),
    (ValueOfNumPy(), {}, "value"),
    (SquaredAccuracy(), {"reference": accuracy_of}, "value"),
    (NameOfTheLoss(), {}, "name"),
    (NoName(), {}, "name"),
    (RemembersItsRows(), {}, "rows unchanged"),
    (SortsTheTruth(), {}, "rows unchanged"),
    (DoublesItsThreshold(), {}, "description"),
]

# Schedules


class GoesOnPastItsEnd(Schedule):
    def __call__(self, step):
        return 0.1 * (1 - step / 50)


class DividesByTheStep(Schedule):
    def __call__(self, step):
        return 0.1 / step if step else float("inf")


class RateOfNumPy(Schedule):
    def __call__(self, step):
        return np.exp(-step)


class WholeRate(Schedule):
    def __call__(self, step):
        return 1 if step < 5 else 0.1


class CountsItsCalls(Schedule):
    calls = 0

    def __call__(self, step):
        self.calls += 1
        return 0.1 / self.calls


class RandomRate(Schedule):
    def __call__(self, step):
        return float(np.random.default_rng().uniform())


class HalvesItsRate(Schedule):
    rate: float = setting(0.1)

    def __post_init__(self):
        self.rate /= 2

    def __call__(self, step):
        return self.rate


class RateThatIsNoField(Schedule):
    rate = 0.1

    def __call__(self, step):
        return self.rate


changed_rate = RateThatIsNoField()
changed_rate.rate = 0.2
BROKEN_SCHEDULES = [
    (GoesOnPastItsEnd(), "rate"),
    (DividesByTheStep(), "rate"),
    (RateOfNumPy(), "rate"),
    (WholeRate(), "rate"),
    (CountsItsCalls(), "same step"),
    (RandomRate(), "same step"),
    (HalvesItsRate(), "description"),
    (changed_rate, "description"),
]

# Averages


class NewAverageVector(Average):
    def follow(self, parameters, vector, step):
        vector = 0.9 * vector + 0.1 * parameters


class MovesTheParameters(Average):
    def follow(self, parameters, vector, step):
        vector += 0.1 * (parameters - vector)
        parameters[:] = vector


class SumsUp(Average):
    def follow(self, parameters, vector, step):
        vector += parameters


class DividesByNoSteps(Average):
    def follow(self, parameters, vector, step):
        with np.errstate(all="ignore"):
            vector += (parameters - vector) / np.float64(step - 1)


class FollowsTheLongestStep(Average):
    """By a rate that depends on the norm of the whole vector."""

    def follow(self, parameters, vector, step):
        vector += (parameters - vector) / (1 + np.linalg.norm(parameters - vector))


class CountsItsSteps(Average):
    count = 0

    def follow(self, parameters, vector, step):
        self.count += 1
        vector += (parameters - vector) / (1 + self.count)


class HalvesItsDecay(ExponentialMovingAverage):
    def __post_init__(self):
        self.decay /= 2


BROKEN_AVERAGES = [
    (NewAverageVector(), "in place"),
    (MovesTheParameters(), "in place"),
    (SumsUp(), "between extremes"),
    (DividesByNoSteps(), "types"),
    (FollowsTheLongestStep(), "part by part"),
    (CountsItsSteps(), "state in the vector"),
    (HalvesItsDecay(), "description"),
]

BROKEN_INITIALIZERS = [
    (GlobalGenerator(), "same seed"),
    (AnotherShape(), "shape and type"),
    (NoSeed(), "same seed"),
    (HandsOutOneArray(), "same seed"),
    (SeededByTheGlobalGenerator(), "no global state"),
    (DoublesItsValue(), "description"),
    (NotFinite(), "shape and type"),
]


def names(cases):
    return [type(case[0]).__name__ for case in cases]


def failures(checks):
    failed = {}
    for name, check in checks:
        try:
            check()
        except CheckFailure as failure:
            failed[name] = failure
    return failed


def assert_caught(failed, expected, part):
    assert expected in failed
    text = str(failed[expected])
    assert text.startswith(f"{part!r} fails the check {expected!r}: ")
    assert "Usual cause: " in text


@pytest.mark.parametrize(("layer", "shape", "check"), BROKEN_LAYERS, ids=names(BROKEN_LAYERS))
def test_a_broken_layer_is_caught_by_the_check_meant_for_it(layer, shape, check):
    assert_caught(failures(layer_checks(layer, shape)), check, layer)
    with pytest.raises(CheckFailure):
        check_layer(layer, shape)


@pytest.mark.parametrize(("loss", "options", "check"), BROKEN_LOSSES, ids=names(BROKEN_LOSSES))
def test_a_broken_loss_is_caught_by_the_check_meant_for_it(loss, options, check):
    assert_caught(failures(loss_checks(loss, **options)), check, loss)
    with pytest.raises(CheckFailure):
        check_loss(loss, **options)


@pytest.mark.parametrize(("optimizer", "options", "check"), BROKEN_OPTIMIZERS, ids=names(BROKEN_OPTIMIZERS))
def test_a_broken_optimizer_is_caught_by_the_check_meant_for_it(optimizer, options, check):
    assert_caught(failures(optimizer_checks(optimizer, **options)), check, optimizer)
    with pytest.raises(CheckFailure):
        check_optimizer(optimizer, **options)


@pytest.mark.parametrize(("initializer", "check"), BROKEN_INITIALIZERS, ids=names(BROKEN_INITIALIZERS))
def test_a_broken_initializer_is_caught_by_the_check_meant_for_it(initializer, check):
    assert_caught(failures(initializer_checks(initializer)), check, initializer)
    with pytest.raises(CheckFailure):
        check_initializer(initializer)


@pytest.mark.parametrize(("metric", "options", "check"), BROKEN_METRICS, ids=names(BROKEN_METRICS))
def test_a_broken_metric_is_caught_by_the_check_meant_for_it(metric, options, check):
    assert_caught(failures(metric_checks(metric, **options)), check, metric)
    with pytest.raises(CheckFailure):
        check_metric(metric, **options)


def test_a_function_with_one_number_for_all_rows_or_several_for_each_is_told():
    def mean_error(predictions, targets):
        return np.abs(predictions - targets).mean()

    def errors(predictions, targets):
        return np.abs(predictions - targets)

    check_metric(errors, MeanSquaredError(), 1)
    for function, shape in ((mean_error, r"not \(\)"), (errors, r"not \(24, 3\)")):
        with pytest.raises(CheckFailure, match=f"fails the check 'sums': .* a number for each row, .*{shape}"):
            dict(metric_checks(function, MeanSquaredError()))["sums"]()


@pytest.mark.parametrize(("schedule", "check"), BROKEN_SCHEDULES, ids=names(BROKEN_SCHEDULES))
def test_a_broken_schedule_is_caught_by_the_check_meant_for_it(schedule, check):
    assert_caught(failures(schedule_checks(schedule)), check, schedule)
    with pytest.raises(CheckFailure):
        check_schedule(schedule)


@pytest.mark.parametrize(("average", "check"), BROKEN_AVERAGES, ids=names(BROKEN_AVERAGES))
def test_a_broken_average_is_caught_by_the_check_meant_for_it(average, check):
    assert_caught(failures(average_checks(average)), check, average)
    with pytest.raises(CheckFailure):
        check_average(average)


@pytest.mark.parametrize(("layer", "message"), BROKEN_MASKS, ids=names(BROKEN_MASKS))
def test_a_layer_with_a_broken_mask_fails_only_the_check_of_masks(layer, message):
    failed = failures(layer_checks(layer, (4, 3)))
    assert failed.keys() == {"masks"}
    assert_caught(failed, "masks", layer)
    assert re.search(message, str(failed["masks"]))


def test_the_right_layer_with_masks_that_the_broken_ones_derive_from_passes():
    check_layer(MeanOfPositions(), (4, 3))
    check_layer(MeanOfPositions(), (1, 3), batch_size=2)


def test_a_layer_may_refuse_masks_and_an_own_layer_may_end_them():
    class Joined(Layer):
        """Makes one vector of all positions; it neither takes nor refuses their mask."""

        def build(self, input_shape, declare):
            return (input_shape[0] * input_shape[1],)

        def forward(self, x, training=False):
            return x.reshape(len(x), -1)

        def backward(self, dy):
            return dy.reshape(len(dy), *self.input_shape)

    class RefusesMasks(GRU):
        def forward(self, x, training=False, mask=None):
            if mask is not None:
                raise ArgumentError("it takes no mask")
            return super().forward(x, training)

    class JoinsPositions(Layer):
        """Combines positions, but does not take their mask."""

        def forward(self, x, training=False):
            return x + x.mean(axis=1, keepdims=True)

        def backward(self, dy):
            return dy + dy.mean(axis=1, keepdims=True)

    blocks = [Sequential(layers) for layers in ([Flatten(), Dense(2)], [Joined(), Dense(2)], [GRU(3), Dense(2)])]
    for layer in (RefusesMasks(3), *blocks):
        dict(layer_checks(layer, (4, 3)))["masks"]()
    with pytest.raises(CheckFailure, match="an inner layer that does not get the mask"):
        dict(layer_checks(Residual(JoinsPositions()), (4, 3)))["masks"]()


# A layer need not check the shape of its input: the model gives it no other, and names it where it fails.
@pytest.mark.parametrize("layer", [NoShapeCheck(), NamelessShapeError(3), TakesWhatItsBuildRefuses()], ids=repr)
def test_a_layer_that_leaves_the_shape_of_its_input_to_the_model_passes(layer):
    check_layer(layer, 4)


@pytest.mark.parametrize(
    ("layer", "check"),
    [
        (EmbeddingOfFloats(7), "integer inputs"),
        (EmbeddingOfFloats(7), "inside a model"),
        (EmbeddingOfTheLastToken(7), "parameter gradients"),
    ],
)
def test_a_broken_layer_of_integers_is_caught_by_the_check_meant_for_it(layer, check):
    assert_caught(failures(layer_checks(layer, (6,), integers=7)), check, layer)


@pytest.mark.parametrize(
    "layer", [Embedding(5, 3), Sequential([Embedding(5, 3), Dense(2)])], ids=["alone", "in a model"]
)
def test_a_layer_of_integers_that_gets_other_numbers_asks_for_them(layer):
    with pytest.raises(
        CheckFailure, match=r"raised DataError: .*whole numbers 0 to 4\. .*: give integers=, the number of"
    ):
        check_layer(layer, 4)
    check_layer(layer, 4, integers=5)
    with pytest.raises(CheckFailure, match="whole numbers 0 to 4. Usual cause: what the traceback"):
        check_layer(layer, 4, integers=9)


def test_a_layer_of_integers_passes_without_an_input_gradient_that_others_must_have():
    check_layer(TableOfIds(300), (2, 3), integers=300)
    failed = failures(layer_checks(TableOfIds(300), (2, 3), integers=300))
    assert failed == {}
    with pytest.raises(CheckFailure, match="backward returned None"):
        dict(layer_checks(ReturnsNothing(), 3))["gradients written"]()


def test_the_right_loss_that_the_broken_ones_derive_from_passes():
    check_loss(Squares(), reference=squares)


def test_a_failed_gradient_names_parameter_index_and_both_values():
    failed = failures(layer_checks(MeanInsteadOfSum(3), 4, batch_size=5))["parameter gradients"]
    assert failed.parameter == "bias"
    assert failed.index is not None
    assert failed.analytic == pytest.approx(failed.numeric / 5)
    assert f"{failed.numeric:.6g}" in str(failed)
    assert "the gradient of 'bias'" in str(failed)


def test_a_part_of_a_large_array_that_is_wrong_is_found():
    class OneWrongColumn(Dense):
        def backward(self, dy):
            dx = super().backward(dy)
            self.weight.gradient[:, -1] *= 1.5
            return dx

    failed = failures(layer_checks(OneWrongColumn(40), 50))
    assert failed.keys() == {"parameter gradients"}
    assert failed["parameter gradients"].parameter == "weight"


def test_a_kink_is_avoided_and_not_failed():
    class ReLUAtTheInputsOfTheFirstDraw(ReLU):
        """Has its kink exactly where the first inputs are."""

        def forward(self, x, training=False):
            at = np.random.default_rng((0, 0)).normal(size=(4, *x.shape[1:])).astype(x.dtype)
            shift = at[: len(x)] if len(x) == 4 else 0
            return super().forward(x - shift, training)

    failed = failures(layer_checks(ReLUAtTheInputsOfTheFirstDraw(), 3))
    assert "input gradient" not in failed


def test_a_second_forward_may_be_refused():
    class OneAtATime(Tanh):
        def forward(self, x, training=False):
            if training and "saved" in vars(self):
                raise NotReadyError("backward first")
            return super().forward(x, training)

        def backward(self, dy):
            dx = super().backward(dy)
            del self.saved
            return dx

    check = dict(layer_checks(OneAtATime(), 3))["second forward"]
    check()


def test_a_decay_that_is_declared_may_move_parameters_at_zero_gradients():
    check_optimizer(DecaysUndeclared(), moves_on_zero=True)


def test_a_reference_may_give_the_mean():
    check_loss(Squares(), reference=lambda scores, targets: squares(scores, targets).mean())
    with pytest.raises(CheckFailure, match="the mean loss"):
        check_loss(Squares(), reference=lambda scores, targets: squares(scores, targets).sum())


def test_a_reference_of_another_shape_is_told():
    with pytest.raises(CheckFailure, match=r"the loss of a sample has shape \(6,\), not \(6, 1\)"):
        check_loss(Squares(), reference=lambda scores, targets: squares(scores, targets)[:, np.newaxis])


def test_numerical_gradients_need_float64():
    with pytest.raises(ArgumentTypeError, match="takes a float64 array, not float32"):
        numerical_gradient(lambda: 0.0, np.zeros(2, np.float32))


def test_the_numerical_gradient_of_a_cube_is_three_times_its_square():
    array = np.array([[1.0, -2.0], [0.5, 3.0]])
    gradient = numerical_gradient(lambda: float((array**3).sum()), array)
    np.testing.assert_allclose(gradient, 3 * array**2, rtol=1e-8)
    np.testing.assert_array_equal(array, [[1, -2], [0.5, 3]])


def test_a_model_that_holds_a_broken_layer_fails():
    assert "input gradient" in failures(layer_checks(Sequential([Dense(4), WrongSign()]), 3))
