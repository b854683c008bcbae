#!/usr/bin/env python3
"""Writes the seeds of the ONNX fuzz corpus: make.py [FOLDER]. Needs onnx and numpy."""
import os
import sys

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../../fuzz/corpus/onnx")


def weight(name, shape, dtype=np.float32):
    n = int(np.prod(shape))
    return numpy_helper.from_array((np.arange(n) % 5 - 2).reshape(shape).astype(dtype), name)


def i64(name, *v):
    return numpy_helper.from_array(np.array(v, np.int64), name)


def save(name, nodes, shape, weights=(), opset=17, functions=(), outs=("y",), sparse=(), ml=0):
    x = h.make_tensor_value_info("x", T.FLOAT, shape)
    ys = [h.make_tensor_value_info(o, T.FLOAT, None) for o in outs]
    graph = h.make_graph(list(nodes), name, [x], ys, list(weights), sparse_initializer=list(sparse))
    domains = [h.make_opsetid("", opset), h.make_opsetid("my", 1)]
    if ml:
        domains.append(h.make_opsetid("ai.onnx.ml", ml))
    model = h.make_model(graph, opset_imports=domains, functions=list(functions), producer_name="make.py")
    with open(os.path.join(OUT, name + ".onnx"), "wb") as f:
        f.write(model.SerializeToString())


N = h.make_node
os.makedirs(OUT, exist_ok=True)
save("conv", [N("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]), N("Relu", ["c"], ["y"])], ["N", 2, 4, 4],
     [weight("w", (3, 2, 3, 3)), weight("b", (3,))])
save("gemm", [N("Flatten", ["x"], ["f"]), N("Gemm", ["f", "w"], ["g"], transB=1), N("Softmax", ["g"], ["y"], axis=1)],
     [1, 2, 3], [weight("w", (4, 6))], 11)
save("bn_pool", [N("BatchNormalization", ["x", "s", "s", "s", "s"], ["n"]),
                 N("MaxPool", ["n"], ["m"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
                 N("GlobalAveragePool", ["m"], ["y"])], [1, 2, 5, 5], [weight("s", (2,))], 9)
save("shapes", [N("Shape", ["x"], ["s"]), N("Gather", ["s", "i"], ["d"]), N("Unsqueeze", ["d"], ["u"], axes=[0]),
                N("Concat", ["u", "m"], ["t"], axis=0), N("Reshape", ["x", "t"], ["y"])], ["batch", 3, "?"],
     [numpy_helper.from_array(np.array(0, np.int64), "i"), i64("m", -1)], 12)
save("old", [N("Clip", ["x"], ["a"], min=0.0, max=6.0), N("Upsample", ["a", "s"], ["b"], mode="nearest"),
             N("Pad", ["b"], ["c"], pads=[0, 0, 1, 1, 0, 0, 1, 1], value=1.0),
             N("Slice", ["c"], ["d"], starts=[1, 0], ends=[9, 99], axes=[2, 3]),
             N("ReduceMean", ["d"], ["y"], axes=[2, 3])], [1, 1, 2, 2],
     [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")], 9)
save("older", [N("Add", ["x", "b"], ["a"], broadcast=1, axis=1), N("Dropout", ["a"], ["y"], is_test=1)], [1, 2, 3],
     [weight("b", (2,))], 6)
save("resize", [N("Resize", ["x", "", "", "s"], ["y"], mode="linear")], [1, 1, 2, 2], [i64("s", 1, 1, 4, 4)], 13)
save("split", [N("Split", ["x", "p"], ["a", "y"], axis=1), N("Sum", ["a", "a", "a"], ["z"])], [1, 3], [i64("p", 2, 1)],
     outs=("y", "z"))
save("quant", [N("QuantizeLinear", ["x", "s", "z"], ["q"]), N("DequantizeLinear", ["q", "s", "z"], ["y"])], [2, 2],
     [numpy_helper.from_array(np.array(0.5, np.float32), "s"), numpy_helper.from_array(np.array(3, np.uint8), "z")])
save("consts", [N("Constant", [], ["a"], value_float=1.5), N("Constant", [], ["b"], value_ints=[2, 2]),
                N("ConstantOfShape", ["b"], ["c"], value=h.make_tensor("", T.INT64, [1], [7])),
                N("Cast", ["c"], ["d"], to=T.FLOAT), N("Add", ["a", "d"], ["e"]), N("Mul", ["x", "e"], ["y"])], [2, 2])
save("attention", [N("MatMul", ["x", "w"], ["q"]), N("Transpose", ["q"], ["t"], perm=[0, 2, 1]),
                   N("MatMul", ["q", "t"], ["l"]), N("Softmax", ["l"], ["p"]), N("MatMul", ["p", "q"], ["o"]),
                   N("LayerNormalization", ["o", "g", "g"], ["y"])], [1, "seq", 4], [weight("w", (4, 4)), weight("g", (4,))])
inner = N("LeakyRelu", ["a"], ["b"])
inner.attribute.append(h.make_attribute("alpha", 0.0))
inner.attribute[0].ref_attr_name = "slope"
inner.attribute[0].ClearField("f")
fn = h.make_function("my", "Leaky", ["a"], ["c"], [inner, N("Exp", ["b"], ["c"])], [h.make_opsetid("", 17)], ["slope"])
save("function", [N("Leaky", ["x"], ["h"], domain="my", slope=0.25), N("Leaky", ["h"], ["y"], domain="my", slope=0.5)],
     [3], functions=[fn])
save("sparse", [N("Add", ["x", "w"], ["y"])], [3, 2],
     sparse=[h.make_sparse_tensor(weight("w", (2,)), i64("", 1, 4), [3, 2])])
typed = [h.make_tensor("h", T.FLOAT16, [2], [1.0, 2.0]), h.make_tensor("i", T.INT8, [2], [-1, 5]),
         h.make_tensor("d", T.DOUBLE, [1], [0.1]), h.make_tensor("u", T.UINT32, [1], [9]),
         h.make_tensor("t", T.STRING, [1], [b"ab"]), h.make_tensor("o", T.BOOL, [2], [True, False])]
save("typed", [N("Cast", ["i"], ["f"], to=T.FLOAT), N("Where", ["o", "x", "f"], ["y"])], [2], typed)
far = weight("w", (2,))
far.ClearField("raw_data")
far.data_location = T.EXTERNAL
far.external_data.add(key="location", value="weights.bin")
far.external_data.add(key="offset", value="16")
save("external", [N("Add", ["x", "w"], ["y"])], [2], [far])
save("unknown", [N("Gelo", ["x"], ["a"]), N("If", ["a"], ["b"], then_branch=h.make_graph([], "t", [], [])),
                 N("Relu", ["b"], ["y"])], [2])
save("cycle", [N("Add", ["x", "b"], ["a"]), N("Relu", ["a"], ["b"]), N("Exp", ["a"], ["y"])], [2])
ML = "ai.onnx.ml"
branch = dict(nodes_treeids=[0, 0, 0, 4], nodes_nodeids=[0, 1, 2, 0], nodes_featureids=[1, 0, 0, 0],
              nodes_modes=["BRANCH_GTE", "LEAF", "LEAF", "LEAF"], nodes_values=[0.5, 0.0, 0.0, 0.0],
              nodes_truenodeids=[2, 0, 0, 0], nodes_falsenodeids=[1, 0, 0, 0],
              nodes_missing_value_tracks_true=[1, 0, 0, 0])
leaves = dict(class_treeids=[0, 0, 0, 4], class_nodeids=[1, 2, 2, 0], class_ids=[0, 1, 2, 2],
              class_weights=[0.25, -1.0, 0.5, 0.125])
save("trees", [N("TreeEnsembleClassifier", ["x"], ["z", "y"], domain=ML, classlabels_int64s=[3, 5, 7],
               base_values=[0.1, 0.2, 0.3], post_transform="SOFTMAX", **branch, **leaves)], ["N", 2], ml=3)
around = dict(branch, nodes_modes=["BRANCH_EQ", "BRANCH_LT", "LEAF", "LEAF"])
save("trees_circle", [N("TreeEnsembleClassifier", ["x"], ["z", "y"], domain=ML, classlabels_int64s=[3, 5, 7],
                      **around, **leaves)], ["N", 2], ml=1)
save("trees5", [N("TreeEnsemble", ["x"], ["y"], domain=ML, n_targets=2, aggregate_function=3, tree_roots=[0],
                nodes_featureids=[1, 0], nodes_modes=h.make_tensor("", T.UINT8, [2], [6, 0]),
                nodes_splits=h.make_tensor("", T.FLOAT, [2], [0.0, 1.5]), nodes_truenodeids=[1, 0], nodes_trueleafs=[0, 1],
                nodes_falsenodeids=[1, 2], nodes_falseleafs=[1, 1], leaf_targetids=[0, 1, 0],
                leaf_weights=h.make_tensor("", T.FLOAT, [3], [0.5, 0.25, -1.0]),
                membership_values=h.make_tensor("", T.FLOAT, [3], [1.0, -2.0, float("nan")]))], ["N", 2], ml=5)
save("svm", [N("SVMClassifier", ["x"], ["z", "y"], domain=ML, kernel_type="RBF", kernel_params=[0.5, 0.0, 0.0],
             vectors_per_class=[1, 1], support_vectors=[0.5, 1.0, -1.0, 0.25], coefficients=[0.75, -0.5], rho=[0.1],
             prob_a=[-1.0], prob_b=[0.5], classlabels_ints=[0, 1])], ["N", 2], ml=1)
save("table", [N("Imputer", ["x"], ["i"], domain=ML, imputed_value_floats=[1.0, 2.0], replaced_value_float=float("nan")),
               N("Scaler", ["i"], ["s"], domain=ML, offset=[0.5], scale=[2.0]),
               N("Normalizer", ["s"], ["n"], domain=ML, norm="L1"),
               N("LabelEncoder", ["n"], ["l"], domain=ML, keys_floats=[0.5, float("nan")], values_int64s=[4, 6]),
               N("OneHotEncoder", ["l"], ["y"], domain=ML, cats_int64s=[4, 6, 8])], ["N", 2], ml=2)
with open(os.path.join(OUT, "tensor.pb"), "wb") as out:
    out.write(weight("w", (2, 3)).SerializeToString())
