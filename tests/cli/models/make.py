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


def save(name, nodes, inputs, outputs, initializers=(), domains=(), functions=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid("", 13)] + [helper.make_opsetid(domain, 2) for domain in domains]
    model = helper.make_model(graph, producer_name="mlopt tests", opset_imports=opsets, functions=functions)
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
save("norm", [helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
              helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["y"], "norm")],
     [info("x", 1, 3, 8, 8)], [info("y", 1, 4, 6, 6)],
     [weights(np.random.default_rng(5), "w", 4, 3, 3, 3)] + [
         numpy_helper.from_array(np.array(v, np.float32), name) for name, v in (
             ("gamma", [1] * 4), ("beta", [0] * 4), ("mean", [0] * 4), ("var", [1] * 4))])
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
# What is wrong with these lies behind values whose types the model does not state, in a body, in a function.
then = helper.make_graph([helper.make_node("Frobnicate", ["h"], ["t"], "inner")], "then", [], [info("t", 2)])
other = helper.make_graph([helper.make_node("Neg", ["h"], ["e"], "neg")], "other", [], [info("e", 2)])
save("several", [helper.make_node("Exp", ["x"], ["h"], "exp"), helper.make_node("Rulu", ["h"], ["r"], "rulu1"),
                 helper.make_node("Rulu", ["r"], ["s"], "rulu2"),
                 helper.make_node("Gemmm", ["s"], ["g"], domain="my.domain"),
                 helper.make_node("Gelu", ["g"], ["u"], "gelu"),
                 helper.make_node("If", ["c"], ["y"], "if", then_branch=then, else_branch=other)],
     [info("x", 2), helper.make_tensor_value_info("c", TensorProto.BOOL, [])], [info("u", 2), info("y", 2)],
     domains=["my.domain"])
save("body", [helper.make_node("Exp", ["x"], ["h"], "exp"),
              helper.make_node("If", ["c"], ["y"], "if", then_branch=then, else_branch=other)],
     [info("x", 2), helper.make_tensor_value_info("c", TensorProto.BOOL, [])], [info("y", 2)])
save("function", [helper.make_node("Exp", ["x"], ["h"], "exp"),
                  helper.make_node("Twice", ["h"], ["y"], "call", domain="my.domain")], [info("x", 2)], [info("y", 2)],
     domains=["my.domain"], functions=[helper.make_function(
         "my.domain", "Twice", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["n"], "neg"),
                                              helper.make_node("LeakyRelu", ["n"], ["b"], "leaky", beta=2.0)],
         [helper.make_opsetid("", 13)])])
save("accumulate", [helper.make_node("Add", ["x", "total"], ["sum"], "add"),
                    helper.make_node("Identity", ["sum"], ["total_next"], "keep")],
     [info("x", 2), info("total", 2)], [info("sum", 2), info("total_next", 2)])
save("append", [helper.make_node("Concat", ["past", "x"], ["present"], "concat", axis=0)],
     [info("x", "n", 2), info("past", "past", 2)], [info("present", "all", 2)])

def claim(name, elements, data):
    """A weight that says how large it is, and what there is of it."""
    return TensorProto(name=name, data_type=TensorProto.FLOAT, dims=elements, raw_data=data)


# What no model may be: see tests/cli/cases/hostile-models.sh and external-data.sh.
relu = [helper.make_node("Relu", ["x"], ["y"], "relu")]
add = [helper.make_node("Add", ["x", "w"], ["y"], "add")]
save("hostile-cycle", [helper.make_node("Add", ["x", "b"], ["a"], "first"),
                       helper.make_node("Relu", ["a"], ["b"], "second")], [info("x", 2)], [info("b", 2)])
save("hostile-missing", [helper.make_node("Add", ["x", "nowhere"], ["y"], "add")], [info("x", 2)],
     [info("y", 2), info("nothing", 2)])
save("hostile-input", relu, [info("x", 2 ** 60)], [info("y", 2 ** 60)])
save("hostile-product", relu, [info("x", 2 ** 31, 2 ** 31, 2 ** 31)], [info("y", 2 ** 31, 2 ** 31, 2 ** 31)])
save("hostile-negative", relu, [info("x", -3)], [info("y", -3)])
save("hostile-weight", add, [info("x", 2)], [info("y", 2)], [claim("w", [2 ** 60], b"abcd")])
save("hostile-weight-product", add, [info("x", 2)], [info("y", 2)], [claim("w", [2 ** 32, 2 ** 32], b"")])
save("hostile-shape", [helper.make_node("Expand", ["x", "s"], ["y"], "grow")], [info("x", 1)], [info("y", "n")],
     [numpy_helper.from_array(np.array([2 ** 60], np.int64), "s")])
save("hostile-repeat", [helper.make_node("ConstantOfShape", ["s"], ["c"], "fill"),
                        helper.make_node("ReduceSum", ["c"], ["t"], "total", keepdims=0),
                        helper.make_node("Add", ["x", "t"], ["y"], "add")], [info("x", 2)], [info("y", 2)],
     [numpy_helper.from_array(np.array([2 ** 20, 2 ** 20], np.int64), "s")])
outside = claim("w", [2], b"")
outside.ClearField("raw_data")
outside.data_location = TensorProto.EXTERNAL
outside.external_data.add(key="location", value="aa/ww.bin")
save("external", add, [info("x", 2)], [info("y", 2)], [outside])


def branches():
    """One branch takes rows of 2, the other rows of 4; which one is an input."""
    def branch(rows, seed):
        return helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["m"], f"of{rows}")], f"rows_of_{rows}", [],
                                 [info("m", "n", 3)], [weights(np.random.default_rng(seed), "w", rows, 3)])

    save("branches", [helper.make_node("If", ["wide"], ["y"], "choice", then_branch=branch(4, 4),
                                       else_branch=branch(2, 5))],
         [helper.make_tensor_value_info("wide", TensorProto.BOOL, []), info("x", "n", "k")], [info("y", "n", 3)])


branches()


def gated():
    """Branches that may be taken: convolutions, one of them chosen in turn, and an LSTM; or a matrix product."""
    rng = np.random.default_rng(6)
    node, graph, out = helper.make_node, helper.make_graph, helper.make_tensor_value_info
    deep = graph([node("Conv", ["r", "w2"], ["d"], "deep/conv", kernel_shape=[1])], "deep", [], [info("d", 1, 8, 12)],
                 [weights(rng, "w2", 8, 8, 1)])
    flat = graph([node("MatMul", ["r", "w3"], ["s"], "flat/product")], "flat", [], [info("s", 1, 8, 12)],
                 [weights(rng, "w3", 12, 12)])
    wide = graph([
        node("Conv", ["x", "w1", "b1"], ["c"], "wide/conv", kernel_shape=[3], pads=[1, 1]),
        node("Relu", ["c"], ["r"], "wide/relu"),
        node("If", ["deep"], ["q"], "wide/choice", then_branch=deep, else_branch=flat),
        node("Transpose", ["q"], ["t"], "wide/steps", perm=[2, 0, 1]),
        node("LSTM", ["t", "lw", "lr", "lb"], ["", "h"], "wide/lstm", hidden_size=8),
        node("Squeeze", ["h", "zero"], ["y1"], "wide/last"),
    ], "wide", [], [info("y1", 1, 8)],
        [weights(rng, "w1", 8, 8, 3), weights(rng, "b1", 8), weights(rng, "lw", 1, 32, 8), weights(rng, "lr", 1, 32, 8),
         weights(rng, "lb", 1, 64), numpy_helper.from_array(np.array([0]), "zero")])
    mean = graph([
        node("ReduceMean", ["x"], ["m"], "mean/mean", axes=[2], keepdims=0),
        node("MatMul", ["m", "w4"], ["y2"], "mean/product"),
    ], "mean", [], [info("y2", 1, 8)], [weights(rng, "w4", 8, 8)])
    flag = [out(name, TensorProto.BOOL, []) for name in ("wide", "deep")]
    save("gated", [node("If", ["wide"], ["y"], "choice", then_branch=wide, else_branch=mean)], [info("x", 1, 8, 12)] + flag,
         [info("y", 1, 8)])


gated()
np.save(os.path.join(HERE, "sound.npy"), np.random.default_rng(7).standard_normal((1, 8, 12)).astype(np.float32))
np.save(os.path.join(HERE, "a.npy"), np.array([[1, 2], [3, 4]], np.float32))
np.save(os.path.join(HERE, "b.npy"), np.array([[2, 0], [-1, 0.5]], np.float32))
np.save(os.path.join(HERE, "batch.npy"), np.random.default_rng(3).random((7, 8, 8, 3)).astype(np.float32))
np.save(os.path.join(HERE, "labels.npy"), np.array([0, 1, 2, 3, 4, 0, 1], np.int64))
np.save(os.path.join(HERE, "true.npy"), np.array(True))
np.save(os.path.join(HERE, "false.npy"), np.array(False))
# A result that is no tensor.
save("pieces", [helper.make_node("SplitToSequence", ["x"], ["y"], "split", axis=0)], [info("x", 2, 2)],
     [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)])
