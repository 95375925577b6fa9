"""Measure one contestant in one workload, in a separate process; print a line of JSON.

python -m contestants.worker MODULE VARIANT WORKLOAD FOLDER
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

from contestants.workloads import load


def main() -> None:
    module, variant, name, folder = sys.argv[1:]
    contestant = importlib.import_module(f"contestants.{module}")
    workload, data = load(Path(folder), name)
    if workload.kind == "cold start":
        print(json.dumps({"loss": contestant.trainer(workload, data, variant)(range(1))[0]}))
        return
    if workload.kind == "fit":
        print(json.dumps(measure_fit(contestant, workload, data) | {"kernels": kernels()}))
        return
    measure = measure_prediction if workload.kind == "prediction" else measure_training
    print(json.dumps(measure(contestant, workload, data, variant) | {"kernels": kernels()}))


def measure_training(contestant, workload, data, variant) -> dict:
    """Time epochs. The first timing does not count: it includes all compilation."""
    train = contestant.trainer(workload, data, variant)
    seconds, losses = [], []
    for number in range(0, (1 + workload.repeats) * workload.times, workload.times):
        start = time.perf_counter()
        losses += train(range(number, number + workload.times))
        seconds.append((time.perf_counter() - start) / workload.times)
    return {"seconds": seconds[1:], "losses": losses}


def measure_fit(contestant, workload, data) -> dict:
    """Time whole fits of new networks; return seconds per epoch. The first fit does not count."""
    fit = contestant.fitter(workload, data)
    seconds, losses = [], []
    for _ in range(1 + workload.repeats):
        start = time.perf_counter()
        losses = list(map(float, fit()))
        seconds.append((time.perf_counter() - start) / workload.times)
    return {"seconds": seconds[1:], "losses": losses}


def measure_prediction(contestant, workload, data, variant) -> dict:
    """Time predictions of the same rows. The first timing does not count."""
    predict = contestant.predictor(workload, data, variant)
    seconds = []
    for _ in range(1 + workload.repeats):
        start = time.perf_counter()
        for _ in range(workload.times):
            classes = predict()
        seconds.append((time.perf_counter() - start) / workload.times)
    return {"seconds": seconds[1:], "classes": None if classes is None else classes[:1000].tolist()}


def kernels() -> str | None:
    """Return the processor kernels of NumPy's BLAS, if threadpoolctl (installed with scikit-learn) knows them."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    libraries = [library for library in threadpool_info() if "numpy" in library["filepath"]]
    return libraries[0].get("architecture") if libraries else None


if __name__ == "__main__":
    main()
