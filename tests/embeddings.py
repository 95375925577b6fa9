"""A layer of whole numbers that is right, for the kit."""

import numpy as np

from minidl import Layer
from minidl.settings import setting


class TableOfIds(Layer):
    """A vector for each id, which is a whole number."""

    ids: int = setting(kw_only=False, low=1, whole=True)
    takes_integers = True

    def build(self, input_shape, declare):
        self.vectors = declare.parameter("vectors", (self.ids, 3), "normal")
        return (*input_shape, 3)

    def forward(self, x, training=False):
        if training:
            self.saved = x
        return self.vectors.value[x]

    def backward(self, dy):
        self.vectors.gradient = 0
        np.add.at(self.vectors.gradient, self.saved, dy)
