"""The stand-in for MNIST against SciPy's interpolation of the same digits."""

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from minidl.data.digits import load_digits_as_mnist


def test_every_digit_is_there_once_with_its_label_and_scaled_smoothly():
    (x_train, y_train), (x_test, y_test) = load_digits_as_mnist()
    digits = load_digits()
    expected = zoom(digits.images, (1, 3.5, 3.5), order=1) * (255 / 16)
    images, labels = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    assert images.dtype == np.uint8
    # Both sides in the order of the pixels; a rounding of half a step aside, they must be the same.
    ours = np.lexsort(images.reshape(1797, -1).T)
    theirs = np.lexsort(np.rint(expected).astype(np.uint8).reshape(1797, -1).T)
    assert np.abs(images[ours] - expected[theirs]).max() <= 0.5 + 1e-6
    np.testing.assert_array_equal(labels[ours], digits.target[theirs])


def test_the_split_is_stratified_and_always_the_same():
    first, again = load_digits_as_mnist(), load_digits_as_mnist()
    assert (first.x_train.shape, first.x_test.shape) == ((1437, 28, 28), (360, 28, 28))
    np.testing.assert_array_equal(first.x_test, again.x_test)
    counts = np.bincount(load_digits().target)
    assert np.abs(np.bincount(first.y_test) - counts * 360 / 1797).max() < 1


def test_the_full_range_of_pixels_is_used():
    images = load_digits_as_mnist().x_train
    assert (images.min(), images.max()) == (0, 255)
