#!/usr/bin/env python3
"""tests/cli/models/make.py -- writes the small models of the command line tests (needs Debian's python3-onnx)."""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))


def weights(rng, name, *shape):
    return numpy_helper.from_array((rng.integers(-8, 9, shape) / 16).astype(np.float32), name)


def save(name, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initializers))
    model = helper.make_model(graph, producer_name="mlopt tests", opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    with open(os.path.join(HERE, name + ".onnx"), "wb") as f:
        f.write(model.SerializeToString())


def info(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def tiny(name, batch):
    """A picture classifier: two convolutions, pooling, a matrix product."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "block/conv2", kernel_shape=[3, 3], strides=[2, 2],
                         pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], "block/relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["scores:0"], "fc", transB=1),
    ]
    save(name, nodes, [info("x", batch, 3, 8, 8)], [info("scores:0", batch, 5)], [
        weights(rng, "w1", 8, 3, 3, 3), weights(rng, "b1", 8), weights(rng, "w2", 16, 8, 3, 3),
        weights(rng, "w3", 5, 16), weights(rng, "b3", 5)])


tiny("tiny", 1)
tiny("dynamic", "batch")
save("unknown", [helper.make_node("Frobnicate", ["x"], ["y"], "frob1"),
                 helper.make_node("Relu", ["y"], ["z"], "relu")], [info("x", 2)], [info("z", 2)])
save("mismatch", [helper.make_node("Conv", ["x", "w"], ["y"], "layer1/conv1")], [info("x", 1, 4, 8, 8)],
     [info("y", 1, 8, 6, 6)], [weights(np.random.default_rng(2), "w", 8, 3, 3, 3)])
save("two", [helper.make_node("Add", ["a", "b"], ["sum"], "add"),
             helper.make_node("Mul", ["sum", "b"], ["a/b"], "mul")],
     [info("a", 2, 2), info("b", 2, 2)], [info("sum", 2, 2), info("a/b", 2, 2)])
save("axes", [helper.make_node("Squeeze", ["x", "axes"], ["y"], "drop")],
     [info("x", 2, 1, 3), helper.make_tensor_value_info("axes", TensorProto.INT64, ["n"])],
     [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
np.save(os.path.join(HERE, "axes.npy"), np.array([1], np.int64))
np.save(os.path.join(HERE, "a.npy"), np.array([[1, 2], [3, 4]], np.float32))
np.save(os.path.join(HERE, "b.npy"), np.array([[2, 0], [-1, 0.5]], np.float32))
np.save(os.path.join(HERE, "batch.npy"), np.random.default_rng(3).random((7, 8, 8, 3)).astype(np.float32))
np.save(os.path.join(HERE, "labels.npy"), np.array([0, 1, 2, 3, 4, 0, 1], np.int64))
