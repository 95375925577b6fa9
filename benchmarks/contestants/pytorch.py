"""PyTorch's usual loop on tensors, without a DataLoader; optimizers "foreach" and "fused", or the step compiled."""

from __future__ import annotations

from itertools import pairwise

import torch


def network(workload) -> torch.nn.Sequential:
    layers = []
    for (inputs, outputs), weight in zip(pairwise(workload.sizes), workload.weights(), strict=True):
        linear = torch.nn.Linear(inputs, outputs)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.zero_()
        hidden = (
            [torch.nn.BatchNorm1d(outputs), torch.nn.ReLU(), torch.nn.Dropout(workload.dropout)]
            if workload.dropout
            else [torch.nn.ReLU()]
        )
        layers += [linear, *hidden]
    return torch.nn.Sequential(*layers[: -len(hidden)])


def trainer(workload, data, variant):
    model = network(workload)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[workload.optimizer]
    mode = {"fused": True} if variant == "fused" else {"foreach": True}
    optimizer = kind(model.parameters(), lr=workload.learning_rate, **mode)
    loss_function = torch.nn.CrossEntropyLoss() if workload.classifies else torch.nn.MSELoss()
    x, y = torch.from_numpy(data.scaled), torch.from_numpy(data.y)

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
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
    model, x = network(workload), data.scaled
    if variant == "compiled":
        model = torch.compile(model)

    @torch.inference_mode()
    def predict():
        return model(torch.from_numpy(x)).argmax(dim=1).numpy()

    return predict
