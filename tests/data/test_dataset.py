"""The data set that the image loaders return."""

import dataclasses

import numpy as np
import pytest

from minidl.data import ImageDataset

TRAINING, TEST = (np.zeros((5, 4), np.uint8), np.arange(5)), (np.ones((2, 4), np.uint8), np.arange(2))
dataset = ImageDataset(*TRAINING, *TEST, source="a drawer")


def test_it_unpacks_into_two_pairs_as_the_loaders_of_keras_do():
    (x_train, y_train), (x_test, y_test) = dataset
    assert (x_train is TRAINING[0], y_train is TRAINING[1], x_test is TEST[0], y_test is TEST[1]) == (True,) * 4


def test_its_repr_has_the_shapes_and_the_source():
    shapes = "x_train=(5, 4), y_train=(5,), x_test=(2, 4), y_test=(2,)"
    assert repr(dataset) == f"ImageDataset({shapes}, source='a drawer')"


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ImageDataset)])
def test_it_cannot_be_changed_by_accident(name):
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(dataset, name, None)
