"""minidl as its README uses it: uint8 pixels, a Trainer."""

from __future__ import annotations

from minidl import SGD, Adam, Dense, MeanSquaredError, ReLU, Rescale, Sequential, SoftmaxCrossEntropy, Trainer


def network(workload) -> Sequential:
    layers = [Rescale(1 / 255)] if workload.classifies else []
    for units in workload.sizes[1:-1]:
        layers += [Dense(units), ReLU()]
    loss = SoftmaxCrossEntropy() if workload.classifies else MeanSquaredError()
    model = Sequential([*layers, Dense(workload.sizes[-1]), loss], input_shape=workload.sizes[0])
    dense = [layer for layer in model.layers if isinstance(layer, Dense)]
    for layer, weight in zip(dense, workload.weights(), strict=True):
        layer.weight.value = weight
    return model


def trainer(workload, data, variant):
    optimizer = {"sgd": SGD, "adam": Adam}[workload.optimizer](workload.learning_rate)
    trainer = Trainer(network(workload), optimizer, batch_size=workload.batch, seed=0)
    return lambda epoch: trainer.fit(data.x, data.y, progress=False)["loss"][-1]


def predictor(workload, data, variant):
    model = network(workload)
    return lambda: model.predict(data.x)
