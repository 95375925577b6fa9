"""The contestants, and the workloads in which they take part."""

from __future__ import annotations

from typing import NamedTuple

from contestants.workloads import Workload

BENCH_EXTRA = 'pip install -e ".[bench]"'
TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu (or as https://pytorch.org says)"


class Peer(NamedTuple):
    """One framework, used in one way."""

    name: str
    module: str
    imports: str = ""
    """The package to import in the workload "import"; empty: the peer does not take part."""
    packages: tuple[str, ...] = ()
    """The packages that must be installed."""
    variants: tuple[str, ...] = ("",)
    """Each variant runs in its own processes; the fastest one in a workload gives the peer's result."""
    without: tuple[str, ...] = ()
    """The workloads in which the peer does not take part."""
    only: tuple[str, ...] = ()
    """The only workloads in which the peer takes part; empty: all except `without`."""
    normalizes: bool = False
    """Whether the peer takes part in the workload with batch normalization and dropout, and in the same one without."""
    more_than_dense: bool = False
    """Whether the peer takes part in the workloads on images and on sequences."""
    install: str = BENCH_EXTRA


FITS = ("fit-digits", "fit-table", "fit-mnist", "fit-pixels")
TRAINING = ("deep-sgd", "deep-adam", "small-fullbatch", "tiny", "skinny", "wide")
IMAGES = ("conv", "conv-deep", "predict-image", "predict-images")
PREDICTION = ("predict-1", "predict-10k")

PEERS = (
    Peer("minidl", "minidl", "minidl", ("minidl",), normalizes=True, more_than_dense=True),
    Peer(
        "minidl-fast",
        "minidl",
        packages=("minidl", "numba"),
        variants=("compiled",),
        without=("predict-image", "predict-images", "import"),
        install="pip install -e '.[fast]'",
        normalizes=True,
        more_than_dense=True,
    ),
    Peer("estimators", "minidl_estimators", packages=("minidl",), only=(*FITS, "predict-10k")),
    Peer(
        "pytorch",
        "pytorch",
        "torch",
        ("torch",),
        ("fused", "foreach"),
        install=TORCH,
        normalizes=True,
        more_than_dense=True,
    ),
    Peer(
        "pytorch-channels-last",
        "pytorch",
        "",
        ("torch",),
        ("channels-last",),
        only=IMAGES,
        install=TORCH,
        more_than_dense=True,
    ),
    Peer(
        "pytorch-sparse",
        "pytorch",
        "",
        ("torch",),
        ("sparse",),
        only=("embedding",),
        install=TORCH,
        more_than_dense=True,
    ),
    Peer("pytorch-compiled", "pytorch", "", ("torch",), ("compiled",), install=TORCH),
    Peer("jax-step", "jax", "jax", ("jax",), ("step",)),
    # With a full batch, an epoch is one step: there is nothing to scan over.
    Peer("jax-scan", "jax", "", ("jax",), ("scan",), without=("small-fullbatch", *PREDICTION)),
    Peer("scikit-learn", "scikit_learn", "sklearn.neural_network", ("scikit-learn",)),
    Peer("skorch", "skorch", "skorch", ("skorch", "torch"), install=f"{BENCH_EXTRA}, and {TORCH}"),
    Peer("columns", "columns"),
    Peer(
        "onnxruntime",
        "onnxruntime",
        "onnxruntime",
        ("onnx", "onnxruntime"),
        without=(*TRAINING, "import", "cold-start"),
    ),
    Peer("gemm", "gemm", "numpy", variants=("whole", "blocks")),
)


class Run(NamedTuple):
    """One variant of one peer: a process per workload and round."""

    peer: Peer
    variant: str

    @property
    def name(self) -> str:
        return f"{self.peer.name} ({self.variant})" if len(self.peer.variants) > 1 else self.peer.name


WORKLOADS = (
    Workload("deep-sgd", "training", optimizer="sgd", learning_rate=0.01, times=2),
    Workload("deep-adam", "training", times=2),
    Workload(
        "small-fullbatch",
        "training",
        sizes=(784, 10, 10),
        rows=41_000,
        batch=41_000,
        optimizer="sgd",
        learning_rate=0.1,
        times=10,
    ),
    Workload("tiny", "training", "random-10", (10, 46, 46, 10), 12_800, 128, times=10),
    Workload("skinny", "training", "random-4", (4, 500, 1), 100_000, 128, times=2),
    Workload("wide", "training", sizes=(784, 1024, 1024, 10), rows=12_800, batch=128),
    Workload("plain-128", "training", batch=128, times=2),
    Workload("normalized", "training", batch=128, dropout=0.2, times=2),
    Workload("conv", "training", network="conv", rows=6_400, optimizer="sgd", learning_rate=0.05, times=2),
    Workload("conv-deep", "training", "pictures", network="conv-deep", rows=2_560, optimizer="sgd", learning_rate=0.05),
    Workload("lstm", "training", "text-100", network="lstm", rows=640, batch=32, times=2),
    Workload("transformer", "training", "text-64", network="transformer", rows=320, batch=16, times=2),
    Workload(
        "embedding",
        "training",
        "words",
        network="embedding",
        rows=3_200,
        batch=32,
        optimizer="sgd",
        learning_rate=10.0,
        times=2,
    ),
    Workload("fit-digits", "fit", "digits", (64, 100, 10), 1_797, 200, times=200, repeats=3),
    Workload("fit-table", "fit", "table", (50, 100, 4), 20_000, 200, times=20, repeats=3),
    Workload("fit-mnist", "fit", sizes=(784, 100, 10), rows=60_000, batch=200, times=10),
    Workload("fit-pixels", "fit", sizes=(784, 100, 10), rows=60_000, batch=200, raw=True, times=10, repeats=1),
    Workload("predict-1", "prediction", rows=1, times=1000, repeats=5),
    Workload("predict-10k", "prediction", rows=10_000, times=5, repeats=5),
    Workload("predict-image", "prediction", network="conv", rows=1, times=300, repeats=5),
    Workload("predict-images", "prediction", network="conv", rows=1_000, times=10, repeats=5),
    Workload("import", "import"),
    Workload("cold-start", "cold start"),
)

MEANING = {
    "deep-sgd": "784-128-64-10, SGD, batch 64: an epoch of {rows} rows",
    "deep-adam": "784-128-64-10, Adam, batch 64: an epoch of {rows} rows",
    "small-fullbatch": "784-10-10, SGD, full batch: a step of {rows} rows",
    "tiny": "10-46-46-10, squared error, Adam, batch 128: an epoch of {rows} rows",
    "skinny": "4-500-1, squared error, Adam, batch 128: an epoch of {rows} rows",
    "wide": "784-1024-1024-10, Adam, batch 128: an epoch of {rows} rows",
    "plain-128": "784-128-64-10, Adam, batch 128: an epoch of {rows} rows",
    "normalized": "the same with batch normalization and dropout after both hidden layers",
    "conv": "conv(16)-ReLU-pool-conv(32)-ReLU-pool-10 on 28 x 28, SGD, batch 64: an epoch of {rows} images",
    "conv-deep": "8 convolutions, BatchNorm, 3 residuals on 32 x 32 x 3, SGD, batch 64: an epoch of {rows} images",
    "lstm": "embedding-LSTM(64)-80 scores a position, 100 characters, Adam, batch 32: an epoch of {rows} rows",
    "transformer": "2 causal blocks, 64 wide, 4 heads, 64 characters, Adam, batch 16: an epoch of {rows} rows",
    "embedding": "50,000 x 64, the mean of 64 words, 10 classes, SGD, batch 32: an epoch of {rows} rows",
    "fit-digits": "MLPClassifier(), 64-100-10 on scikit-learn's digits: an epoch of a fit of {times}, {rows} rows",
    "fit-table": "MLPClassifier(), 50-100-4 on a table: an epoch of a fit of {times}, {rows} rows",
    "fit-mnist": "MLPClassifier(), 784-100-10: an epoch of a fit of {times}, {rows} rows",
    "fit-pixels": "the same with the pixels as stored bytes",
    "predict-1": "784-128-64-10: the class of 1 row",
    "predict-10k": "784-128-64-10: the classes of {rows} rows",
    "predict-image": "the network of conv: the class of 1 image",
    "predict-images": "the network of conv: the classes of {rows} images",
    "import": "a process that only imports the package",
    "cold-start": "a process that trains deep-adam for its first epoch of {rows} rows",
}


def quick(workload: Workload) -> Workload:
    """Return a smaller workload of the same kind: fewer rows, steps and timings."""
    if workload.kind == "training":
        special = {"small-fullbatch": 20_480, "wide": 1_280, "conv": 1_920, "conv-deep": 640}
        fewer = special.get(workload.name, min(workload.rows, 6_400))
        return workload._replace(rows=fewer, batch=fewer if workload.full_batch else workload.batch, times=1, repeats=2)
    if workload.kind == "fit":
        return workload._replace(rows=min(workload.rows, 6_400), repeats=2)
    if workload.kind == "prediction":
        return workload._replace(times=max(workload.times // 5, 1), repeats=3)
    return workload


def meaning(workload: Workload) -> str:
    return MEANING[workload.name].format(rows=f"{workload.rows:,}", times=workload.times)
