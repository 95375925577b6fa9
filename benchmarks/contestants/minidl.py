"""minidl as in its README: with a Trainer, in float32 like the other frameworks."""

from __future__ import annotations

from contestants.workloads import IMAGE_NETWORKS, SEQUENCE_NETWORKS
from minidl import (
    L2,
    LSTM,
    SGD,
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool1D,
    GlobalAveragePool2D,
    Layer,
    LayerNorm,
    MaxPool2D,
    MeanSquaredError,
    PositionEmbedding,
    ReLU,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
    TransformerBlock,
)
from minidl.compiled import switch


def image_layer(part) -> list[Layer]:
    name, *numbers = part
    if name == "conv":
        return [Conv2D(numbers[0], 3, strides=numbers[1], padding=1)]
    if name == "residual":
        filters, strides = numbers
        inside = [*image_layer(("conv", filters, strides)), BatchNorm(), ReLU(), *image_layer(("conv", filters, 1))]
        return [Residual([*inside, BatchNorm()])]
    if name == "dense":
        return [Dense(numbers[0])]
    simple = {"relu": ReLU, "norm": BatchNorm, "pool": MaxPool2D, "flatten": Flatten, "average": GlobalAveragePool2D}
    return [simple[name]()]


def sequence_layer(part, features) -> Layer:
    name, *numbers = part
    if name == "lstm":
        return LSTM(numbers[0], return_sequences=True)
    if name == "block":
        return TransformerBlock(features, numbers[0], causal=True)
    layers = {
        "embedding": Embedding,
        "positions": PositionEmbedding,
        "norm": LayerNorm,
        "mean": GlobalAveragePool1D,
        "dense": Dense,
    }
    return layers[name](*numbers)


def network_of_parts(workload) -> Sequential:
    if workload.network in IMAGE_NETWORKS:
        shape, parts = IMAGE_NETWORKS[workload.network]
        layers = [layer for part in parts for layer in image_layer(part)]
    else:
        shape, parts = SEQUENCE_NETWORKS[workload.network]
        layers = [sequence_layer(part, features=parts[0][-1]) for part in parts]
    model, draw = Sequential([*layers, SoftmaxCrossEntropy()], input_shape=shape), workload.drawer()
    for path, parameter in model.named_parameters().items():
        if path.endswith("weight"):
            parameter.value = draw(parameter.value.shape)
    return model


def network(workload) -> Sequential:
    if workload.network:
        return network_of_parts(workload)
    layers: list[Layer] = []
    for units in workload.sizes[1:-1]:
        layers.append(Dense(units))
        layers += [BatchNorm(), ReLU(), Dropout(workload.dropout)] if workload.dropout else [ReLU()]
    loss = SoftmaxCrossEntropy() if workload.classifies else MeanSquaredError()
    model = Sequential([*layers, Dense(workload.sizes[-1]), loss], input_shape=workload.sizes[0])
    dense = [layer for layer in model.layers if isinstance(layer, Dense)]
    for layer, weight in zip(dense, workload.weights(), strict=True):
        layer.weight.value = weight
    return model


def trainer(workload, data, variant):
    switch(variant == "compiled")
    optimizer = {"sgd": SGD, "adam": Adam}[workload.optimizer](workload.learning_rate)
    trainer = Trainer(network(workload), optimizer, batch_size=workload.batch, seed=0)
    x = data.scaled
    return lambda epochs: trainer.fit(x, data.y, epochs=len(epochs), progress=False)["loss"][-len(epochs) :]


def fitter(workload, data):
    """Return a fit like the estimator's: scikit-learn's penalty and initial weights, and a history of only the loss."""
    x, y = data.x if workload.raw else data.scaled, data.y
    penalty = L2(1e-4 / 2 / workload.batch)

    def fit():
        layers: list[Layer] = []
        for units in workload.sizes[1:]:
            layers += [Dense(units, initializer="glorot_uniform", regularizer=penalty), ReLU()]
        model = Sequential([*layers[:-1], SoftmaxCrossEntropy()], input_shape=workload.sizes[0], seed=0)
        optimizer = Adam(workload.learning_rate)
        trainer = Trainer(model, optimizer, batch_size=workload.batch, seed=0, metrics=[])
        return trainer.fit(x, y, epochs=workload.times, progress=False)["loss"]

    return fit


def predictor(workload, data, variant):
    switch(variant == "compiled")
    model, x = network(workload), data.scaled
    return lambda: model.predict(x)
