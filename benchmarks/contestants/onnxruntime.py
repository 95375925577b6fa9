"""ONNX Runtime, which only predicts: the network as an ONNX graph that ends with the class."""

from __future__ import annotations

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def graph_of(workload) -> onnx.ModelProto:
    nodes, constants, current = [], [], "x"
    weights = workload.weights()
    for index, weight in enumerate(weights):
        constants.append(numpy_helper.from_array(weight, f"weight_{index}"))
        constants.append(numpy_helper.from_array(weight[0] * 0, f"bias_{index}"))
        nodes.append(helper.make_node("Gemm", [current, f"weight_{index}", f"bias_{index}"], [f"scores_{index}"]))
        current = f"scores_{index}"
        if index < len(weights) - 1:
            nodes.append(helper.make_node("Relu", [current], [f"output_{index}"]))
            current = f"output_{index}"
    nodes.append(helper.make_node("ArgMax", [current], ["classes"], axis=1, keepdims=0))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", workload.sizes[0]])
    classes = helper.make_tensor_value_info("classes", TensorProto.INT64, ["rows"])
    graph = helper.make_graph(nodes, "network", [x], [classes], constants)
    # Versions that every ONNX Runtime of the last years reads; by default, onnx may write newer ones.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def predictor(workload, data, variant):
    session = onnxruntime.InferenceSession(graph_of(workload).SerializeToString(), providers=["CPUExecutionProvider"])
    x = data.scaled
    return lambda: session.run(None, {"x": x})[0]
