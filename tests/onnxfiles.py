"""Running ONNX files by ONNX Runtime, for tests of what minidl writes and reads."""

import numpy as np
import pytest

# By names of modules inside: tests/onnx itself would be taken for the library.
onnx = pytest.importorskip("onnx.shape_inference") and pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime.quantization") and pytest.importorskip("onnxruntime")


def run(path, x):
    """Return the first output of a file, or of its bytes, for a batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def assert_close(ours, theirs, relative=1e-5):
    """Compare to a part of the largest number: of two that nearly cancel each other neither keeps its digits."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    scale = np.abs(theirs).max(initial=0)
    np.testing.assert_allclose(ours, theirs, rtol=relative, atol=relative * max(float(scale), 1e-30))


def random_model(model, rng):
    """Return a model with other numbers in all of its arrays, also those that start with constants."""
    for parameter in model.named_parameters().values():
        parameter.value += rng.normal(scale=0.3, size=parameter.value.shape)
    for state in model.named_states().values():
        state.value = rng.uniform(0.5, 2, size=state.value.shape)
    return model
