"""PyTorch's usual loop on tensors, without a DataLoader.

The variants "foreach" and "fused" are kinds of optimizers. "compiled" compiles the step, "channels-last" changes the
order of images in memory, and "sparse" gives the embedding a sparse gradient with only the rows that occurred.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from contestants.workloads import IMAGE_NETWORKS, SEQUENCE_NETWORKS


class Residual(nn.Module):
    """Two convolutions plus their input; a projection changes the shape of the input if necessary."""

    def __init__(self, channels: int, filters: int, strides: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, filters, 3, strides, 1),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, 1, 1),
            nn.BatchNorm2d(filters),
        )
        projected = strides > 1 or channels != filters
        self.projection = nn.Conv2d(channels, filters, 1, strides, bias=False) if projected else nn.Identity()

    def forward(self, x):
        return self.layers(x) + self.projection(x)


def image_network(workload) -> nn.Sequential:
    (size, _, channels), parts = IMAGE_NETWORKS[workload.network]
    layers: list[nn.Module] = []
    pixels = 1
    for name, *numbers in parts:
        if name in {"conv", "residual"}:
            filters, strides = numbers
            made = nn.Conv2d(channels, filters, 3, strides, 1) if name == "conv" else Residual(channels, *numbers)
            layers.append(made)
            channels, size = filters, size // strides
        elif name == "pool":
            layers.append(nn.MaxPool2d(2))
            size //= 2
        elif name == "dense":
            layers.append(nn.Linear(pixels * channels, numbers[0]))
        elif name == "average":
            layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        elif name == "flatten":
            layers.append(nn.Flatten())
            pixels = size * size
        else:
            layers.append(nn.ReLU() if name == "relu" else nn.BatchNorm2d(channels))
    model, draw = nn.Sequential(*layers), workload.drawer()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                filters, inputs, *kernel = layer.weight.shape
                layer.weight.copy_(torch.from_numpy(draw((*kernel, inputs, filters))).permute(3, 2, 0, 1))
            elif isinstance(layer, nn.Linear):  # PyTorch flattens channels first, minidl channels last
                weight = draw(layer.weight.T.shape).reshape(pixels, channels, -1).swapaxes(0, 1)
                layer.weight.copy_(torch.from_numpy(weight.reshape(layer.weight.T.shape).T.copy()))
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
                layer.bias.zero_()
    return model


class Recurrent(nn.Module):
    """An LSTM. PyTorch adds two biases. One is fixed, because training both would double the speed of learning."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, units, batch_first=True)
        self.lstm.bias_hh_l0.requires_grad_(False)

    def forward(self, x):
        return self.lstm(x)[0]


class Positions(nn.Module):
    """Add a trained vector to each position."""

    def __init__(self, positions: int, features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(positions, features)

    def forward(self, x):
        return x + self.embedding.weight


class Mean(nn.Module):
    """The mean over the positions."""

    def forward(self, x):
        return x.mean(dim=1)


class Block(nn.Module):
    """A transformer block: causal attention, then two linear layers; a normalization comes before each part."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.projection = nn.LayerNorm(features), nn.Linear(features, 3 * features)
        self.output = nn.Linear(features, features)
        self.dense = nn.Sequential(
            nn.LayerNorm(features), nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features)
        )

    def forward(self, x):
        rows, positions, features = x.shape
        projected = self.projection(self.before_attention(x)).view(rows, positions, 3, self.heads, -1)
        taken = functional.scaled_dot_product_attention(*projected.permute(2, 0, 3, 1, 4), is_causal=True)
        x = x + self.output(taken.transpose(1, 2).reshape(rows, positions, features))
        return x + self.dense(x)


def sequence_layer(part, positions: int, features: int, is_sparse: bool) -> nn.Module:
    name, *numbers = part
    if name == "embedding":
        return nn.Embedding(*numbers, sparse=is_sparse)
    if name == "positions":
        return Positions(positions, features)
    if name == "mean":
        return Mean()
    layers = {"lstm": Recurrent, "block": Block, "norm": nn.LayerNorm, "dense": nn.Linear}
    return layers[name](features, *numbers)


def sequence_network(workload, is_sparse: bool) -> nn.Sequential:
    positions, parts = SEQUENCE_NETWORKS[workload.network]
    layers = [sequence_layer(part, positions, parts[0][-1], is_sparse) for part in parts]
    if ("mean",) not in parts:  # the loss takes (N, classes)
        layers.append(nn.Flatten(0, 1))
    model, draw = nn.Sequential(*layers), workload.drawer()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Embedding):
                layer.weight.copy_(torch.from_numpy(draw(layer.weight.shape)))
            elif isinstance(layer, nn.Linear):
                layer.weight.copy_(torch.from_numpy(draw(layer.weight.T.shape).T))
                layer.bias.zero_()
            elif isinstance(layer, nn.LSTM):
                for weight in (layer.weight_ih_l0, layer.weight_hh_l0):
                    weight.copy_(torch.from_numpy(draw(weight.T.shape).T))
                for bias, forget in ((layer.bias_ih_l0, 1), (layer.bias_hh_l0, 0)):
                    bias.zero_().view(4, -1)[1] = forget
    return model


def network(workload, variant="") -> nn.Sequential:
    if workload.network in SEQUENCE_NETWORKS:
        return sequence_network(workload, is_sparse=variant == "sparse")
    if workload.network:
        return image_network(workload)
    layers = []
    for (inputs, outputs), weight in zip(pairwise(workload.sizes), workload.weights(), strict=True):
        linear = nn.Linear(inputs, outputs)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.zero_()
        hidden = [nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(workload.dropout)] if workload.dropout else [nn.ReLU()]
        layers += [linear, *hidden]
    return nn.Sequential(*layers[: -len(hidden)])


def inputs(workload, data, variant) -> torch.Tensor:
    """Return the rows. Images are (N, channels, height, width); with "channels-last", channels are last in memory."""
    x = torch.from_numpy(data.scaled)
    if workload.network not in IMAGE_NETWORKS:
        return x
    order = torch.channels_last if variant == "channels-last" else torch.contiguous_format
    # PyTorch chooses kernels by the strides. With one channel, only a copy has the strides of the wanted order.
    return x.reshape(-1, *IMAGE_NETWORKS[workload.network][0]).permute(0, 3, 1, 2).clone(memory_format=order)


def trainer(workload, data, variant):
    model = network(workload, variant)
    if variant == "channels-last":
        model = model.to(memory_format=torch.channels_last)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[workload.optimizer]
    mode = {"foreach": {"foreach": True}, "sparse": {}}.get(variant, {"fused": True})
    optimizer = kind(model.parameters(), lr=workload.learning_rate, **mode)
    loss_function = nn.CrossEntropyLoss() if workload.classifies else nn.MSELoss()
    x, y = inputs(workload, data, variant), torch.from_numpy(data.y)

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_function(model(x), y.flatten() if workload.classifies else y)
        loss.backward()
        optimizer.step()
        return loss

    if variant == "compiled":
        step = torch.compile(step, dynamic=False)

    def train(epoch):
        if workload.full_batch:
            return step(x, y).item()
        batches = torch.from_numpy(workload.order(epoch)).split(workload.batch)
        return workload.mean_loss([step(x[rows], y[rows]).item() for rows in batches])

    return lambda epochs: [train(epoch) for epoch in epochs]


def predictor(workload, data, variant):
    model, x = network(workload).eval(), inputs(workload, data, variant)
    if variant == "compiled":
        model = torch.compile(model)
    if variant == "channels-last":
        model = model.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def predict():
        return model(x).argmax(dim=1).numpy()

    return predict
