"""Small graphs in ONNX, written by hand as other libraries would write them."""

import numpy as np
from onnxfiles import onnx

helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


def constant(values, name):
    return onnx.numpy_helper.from_array(np.asarray(values), name)


def graph(nodes, constants, shape, outputs=("y",), opset=17, batch="N"):
    """Return the bytes of a model of one input x; constants are arrays by name."""
    x = helper.make_tensor_value_info("x", FLOAT, [batch, *shape])
    found = [onnx.ValueInfoProto(name=name) for name in outputs]
    arrays = [constant(values, name) for name, values in constants.items()]
    made = helper.make_graph(nodes, "graph", [x], found, arrays)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    for output in model.graph.output:
        if not output.type.tensor_type.HasField("shape"):  # of a graph that is wrong
            output.CopyFrom(helper.make_tensor_value_info(output.name, FLOAT, ["N", "M"]))
    return model.SerializeToString()


def node(operator, inputs, output="y", **attributes):
    """Return a node; inputs are names with spaces between them."""
    return helper.make_node(operator, inputs.split(" "), [output], **attributes)


def chain(*nodes, **constants):
    """Return nodes that follow each other from x to y: of each the operator, its other inputs and its attributes."""
    made, before = [], "x"
    for index, (operator, others, attributes) in enumerate(nodes):
        output = "y" if index == len(nodes) - 1 else f"t{index}"
        made.append(helper.make_node(operator, [before, *others], [output], **attributes))
        before = output
    return made
