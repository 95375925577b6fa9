"""Short runs whose metrics are given by the test, for callbacks that watch or save."""

import numpy as np

from minidl import SGD, Callback, Dense, ReLU, Sequential, SoftmaxCrossEntropy, Trainer


def problem(rows=40):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 5)).astype(np.float32), rng.integers(0, 3, rows)


def trainer(optimizer=None, **settings):
    model = Sequential([Dense(12), ReLU(), Dense(3), SoftmaxCrossEntropy()], input_shape=5, seed=0)
    return Trainer(model, optimizer or SGD(0.1), batch_size=10, seed=0, **settings)


class Script(Callback):
    """Puts metrics of its own into the history, before those who watch look at it."""

    def __init__(self, name, metrics):
        self.name, self.metrics = name, list(metrics)
        self.parameters = []

    def on_epoch_end(self, t):
        t.history[self.name][-1] = self.metrics[t.epoch - 1]
        self.parameters.append(t.model.parameters.copy())


def scripted(metrics, callback, name="val_loss", epochs=None, t=None):
    """Run with these metrics as the epochs' own; return trainer and script."""
    (x, y), t, script = problem(), t or trainer(), Script(name, metrics)
    t.fit(x, y, epochs=epochs or len(metrics), validation_data=(x, y), callbacks=[script, callback], progress=False)
    return t, script
