"""Makes the files in ``files``: small networks as PyTorch's two exporters, skl2onnx and Keras' two backends write them.

    python tests/onnx/make_files.py
    KERAS_BACKEND=torch python tests/onnx/make_files.py

It needs PyTorch 2.13 with onnx and onnxscript, scikit-learn with skl2onnx 1.20, and Keras 3.15 with PyTorch or with
TensorFlow 2.21 and tf2onnx 1.17, which is its default; what is not installed is left out.
Stack traces and the like are taken out of the files.
"""

import warnings
from pathlib import Path

import numpy as np
import onnx

FOLDER = Path(__file__).parent / "files"


def torch_networks():
    """Return networks of PyTorch by name, with the shape of a sample."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(before, after, 3, stride, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.Conv2d(after, after, 3, 1, 1, bias=False),
                nn.BatchNorm2d(after),
            )
            same = before == after and stride == 1
            self.projection = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

        def forward(self, x):
            return torch.relu(self.layers(x) + self.projection(x))

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(2, 3, 1)
            self.second = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU())
            self.third = nn.MaxPool2d(3, 1, 1)
            self.last = nn.Linear(7, 3)

        def forward(self, x):
            y = torch.cat([self.first(x), self.second(x), self.third(x)], 1)
            return self.last(y.mean((2, 3)))

    class View(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 2, 3), nn.Linear(18, 3)

        def forward(self, x):
            y = torch.relu(self.first(x))
            return torch.log_softmax(self.last(y.view(y.size(0), -1)), 1)

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.both = nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True)
            self.stack = nn.GRU(6, 5, num_layers=2, batch_first=True)
            self.plain = nn.LSTM(5, 4, batch_first=True)
            self.states = nn.GRU(4, 3, bidirectional=True, batch_first=True)
            self.last = nn.Linear(6, 3)

        def forward(self, x):
            y, _ = self.plain(self.stack(self.both(x)[0])[0])
            _, states = self.states(y)
            return self.last(torch.cat([states[-2], states[-1]], -1))

    class LastStep(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = (nn.GRU(4, 4, num_layers=count, batch_first=True) for count in (1, 2))
            self.last = nn.Linear(4, 3)

        def forward(self, x):
            _, states = self.second(torch.tanh(self.first(x)[0]))
            return self.last(states[-1])

    class AlongTime(nn.Module):
        def __init__(self):
            super().__init__()
            windows = [nn.Conv1d(4, 6, 3, padding=1, groups=2), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2)]
            self.windows = nn.Sequential(*windows, nn.Conv1d(6, 5, 2, dilation=2), nn.AvgPool1d(2, 1))
            self.gru, self.last = nn.GRU(5, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x):
            y, _ = self.gru(self.windows(x.transpose(1, 2)).transpose(1, 2))
            return self.last(y[:, -1])

    activations = [nn.GELU(), nn.Linear(5, 5), nn.GELU(approximate="tanh"), nn.SiLU(), nn.ELU(0.7), nn.SELU()]
    activations += [nn.PReLU(), nn.Softplus(), nn.LayerNorm(5), nn.LeakyReLU(0.2), nn.BatchNorm1d(5), nn.Dropout(0.3)]
    first = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(4, 4, 3, groups=2, stride=2), nn.PReLU(4), nn.AvgPool2d(2, 1), nn.Flatten()]
    enlarging = [nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), nn.ReLU()]
    enlarging += [nn.Upsample(scale_factor=2), nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(3, 1, 3)]
    return {
        "mlp": (
            nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.Softmax(-1)),
            (6,),
        ),
        "activations": (nn.Sequential(nn.Linear(6, 5), *activations, nn.Linear(5, 2), nn.Sigmoid()), (6,)),
        "convolutions": (
            nn.Sequential(*first, *second, nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)),
            (1, 12, 12),
        ),
        "flattened": (nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 2)), (1, 6, 6)),
        "residual": (
            nn.Sequential(Block(2, 2, 1), Block(2, 4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
            (2, 6, 6),
        ),
        "inception": (Inception(), (2, 5, 5)),
        "view": (View(), (1, 5, 5)),
        "upsampling": (nn.Sequential(*enlarging), (2, 3, 4)),
        "recurrent": (Recurrent(), (7, 4)),
        "states": (LastStep(), (7, 4)),
        "sequences": (AlongTime(), (12, 4)),
    }


def make_torch_files():
    import torch

    torch.manual_seed(0)
    for name, (network, shape) in torch_networks().items():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                with torch.no_grad():
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_()
                    module.running_mean.normal_()
                    module.running_var.uniform_(0.5, 2)
        network.eval()
        x, names = torch.randn(2, *shape), {"input_names": ["x"], "output_names": ["y"]}
        script, dynamo = FOLDER / f"torchscript_{name}.onnx", FOLDER / f"dynamo_{name}.onnx"
        axes = {"x": {0: "n"}, "y": {0: "n"}}
        torch.onnx.export(network, (x,), script, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
        dynamic = ({0: torch.export.Dim("n")},)
        torch.onnx.export(
            network, (x,), dynamo, dynamo=True, dynamic_shapes=dynamic, external_data=False, verbose=False, **names
        )
        for path in (script, dynamo):
            strip(path)


def make_sklearn_files():
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)).astype(np.float32)
    settings = {"max_iter": 5, "random_state": 0}
    three = MLPClassifier(hidden_layer_sizes=(4, 3), **settings).fit(x, rng.integers(3, size=60))
    two = MLPClassifier(hidden_layer_sizes=4, activation="logistic", **settings).fit(x, rng.integers(2, size=60))
    regressor = MLPRegressor(hidden_layer_sizes=4, activation="tanh", **settings).fit(x, x[:, 0])
    texts = np.array(["low", "middle", "high"])[rng.integers(3, size=60)]
    scaled = make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=4, **settings)).fit(100 + 9 * x, texts)
    files = ("classes", three, True), ("two", two, False), ("values", regressor, None), ("scaled", scaled, True)
    for name, estimator, zipmap in files:
        options = {} if zipmap is None else {"options": {"zipmap": zipmap}}
        path = FOLDER / f"sklearn_{name}.onnx"
        path.write_bytes(to_onnx(estimator, x[:1], target_opset=17, **options).SerializeToString())


def keras_networks():
    """Return networks of Keras by name."""
    import keras
    from keras import layers

    def sequential(shape, *parts):
        return keras.Sequential([keras.Input(shape), *parts])

    def normalized(x, filters, stride):
        return layers.BatchNormalization()(layers.Conv2D(filters, 3, stride, "same", use_bias=False)(x))

    def residual(x, filters, stride):
        y = normalized(layers.ReLU()(normalized(x, filters, stride)), filters, 1)
        shortcut = x if stride == 1 else layers.Conv2D(filters, 1, stride, "same", use_bias=False)(x)
        return layers.ReLU()(layers.Add()([y, shortcut]))

    of_torch = keras.backend.backend() == "torch"  # each backend fails to export some layers
    norms = [] if of_torch else [layers.LayerNormalization(), layers.LayerNormalization(scale=False)]
    gelu = [layers.Activation("gelu")] if of_torch else []
    groups = 2 if of_torch else 1

    activations = [layers.PReLU(), layers.BatchNormalization(), layers.Dropout(0.3), *norms[:1], *gelu]
    activations += [layers.LeakyReLU(0.2), layers.ELU(0.7)]
    activations += [layers.Dense(5, name) for name in ("silu", "selu", "softplus", "tanh", "elu")]
    activations += [layers.Lambda(lambda x: keras.activations.gelu(x, approximate=True))]
    first = [layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D(2)]
    second = [layers.Conv2D(4, 3, 2, groups=groups, activation="relu"), layers.AveragePooling2D(2, 1), layers.Flatten()]
    separable = [layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=2), layers.PReLU(shared_axes=[1, 2])]
    separable += [layers.SeparableConv2D(3, 3, activation="silu"), *norms[1:]]
    separable += [layers.AveragePooling2D(2, padding="valid" if of_torch else "same"), layers.GlobalAveragePooling2D()]
    enlarging = [layers.Conv2DTranspose(3, 3, 2, "same", activation="relu"), layers.UpSampling2D(2)]
    enlarging += [layers.ZeroPadding2D(((0, 1), (1, 2))), layers.Conv2DTranspose(2, 3, 2), layers.Conv2D(1, 3)]
    whole = keras.Input((6, 6, 2))
    y = layers.GlobalAveragePooling2D()(residual(residual(whole, 2, 1), 4, 2))
    x = keras.Input((5, 5, 1))
    branches = layers.Conv2D(3, 1)(x), layers.Conv2D(2, 3, padding="same", activation="relu")(x)
    joined = layers.Concatenate()([*branches, layers.MaxPooling2D(3, 1, "same")(x), x])
    rows = [layers.Dense(5, "relu"), layers.Dense(3), layers.Flatten(), layers.BatchNormalization(), layers.Dense(2)]
    return {
        "mlp": sequential((6,), layers.Dense(5, "relu"), layers.Dense(4, "tanh"), layers.Dense(3, "softmax")),
        "sigmoid": sequential((6,), layers.Rescaling(0.5, -1), layers.Dense(4, "relu"), layers.Dense(1, "sigmoid")),
        "activations": sequential((6,), layers.Dense(5), *activations, layers.Dense(2)),
        "convolutions": sequential(
            (12, 12, 1), layers.Rescaling(0.5), *first, *second, layers.Dense(5, "relu"), layers.Dense(3, "softmax")
        ),
        "rows": sequential((4, 6), *rows),
        "separable": sequential((9, 8, 2), *separable, layers.Dense(3)),
        "enlarging": sequential((3, 4, 2), *enlarging),
        "residual": keras.Model(whole, layers.Dense(3)(y)),
        "concatenated": keras.Model(x, layers.Dense(3)(layers.Flatten()(joined))),
    }


def make_keras_files():
    import keras

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    for name, network in keras_networks().items():
        for weight in network.weights:
            if weight.name in {"alpha", "beta", "bias", "gamma", "moving_mean", "moving_variance"}:  # 0 or 1 at first
                weight.assign(rng.uniform(0.2, 0.9, weight.shape))
        network(np.zeros((2, *network.input_shape[1:]), np.float32))
        path = FOLDER / f"keras_{keras.backend.backend()}_{name}.onnx"
        network.export(path, format="onnx", verbose=False)
        strip(path)


def strip(path):
    """Take out what says where and how the file was made."""
    model = onnx.load(path)
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    path.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    for make in (make_torch_files, make_sklearn_files, make_keras_files):
        try:
            make()
        except ModuleNotFoundError as error:
            print(f"{make.__name__}: {error}")
