# tests/python/run.py [PATTERN] -- the backend tests of Debian's python3-onnx on mlopt_backend.py, those whose
# name PATTERN matches.  SRC is set.  Cases that the lists of tests/conform name are left out.
import os
import re
import sys
import unittest

import numpy as np

for name in ('object', 'bool'):  # names that the tests use and that numpy 1.24 no longer has
    if name not in vars(np):
        setattr(np, name, getattr(__import__('builtins'), name))

import onnx.backend.test  # noqa: E402

import mlopt_backend  # noqa: E402


def listed():
    """Names of the cases that fail or need a constant, but those of newer forms of Debian's own."""
    names = set()
    for name in ('expected.txt', 'expected-native.txt'):
        with open(os.path.join(os.environ['SRC'], 'tests/conform', name)) as f:
            for line in f:
                word = line.split(None, 1)[0] if line.strip() else '#'
                if not word.startswith('onnx-1.23/node/'):
                    names.add(word.split('/')[-1])
    return names


class Tests(onnx.backend.test.BackendTest):
    def _load_proto(self, proto_filename, target_list, model_type_proto):
        """Leaves out cases that feed a model another rank than it declares, which is an error here."""
        super()._load_proto(proto_filename, target_list, model_type_proto)
        tensor = model_type_proto.tensor_type
        if ('input_' in os.path.basename(proto_filename) and tensor.HasField('shape')
                and len(tensor.shape.dim) != np.ndim(target_list[-1])):
            raise unittest.SkipTest('the data of an input is of another rank than the model declares')

    @classmethod
    def assert_similar_outputs(cls, ref_outputs, outputs, rtol, atol):
        """Compares items of sequences as arrays; onnx 1.12 takes them for lists, but a scalar has no length."""
        def lengths(values):
            return [len(v) if isinstance(v, (list, tuple)) else None for v in values]

        def flat(values):
            return [a for v in values for a in (v if isinstance(v, (list, tuple)) else [v])]

        np.testing.assert_equal(lengths(outputs), lengths(ref_outputs))
        super().assert_similar_outputs(flat(ref_outputs), flat(outputs), rtol, atol)


class RunNode(unittest.TestCase):
    def test_run_node(self):
        node = onnx.helper.make_node('Add', ['a', 'b'], ['c'])
        a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([1, 2, 3])
        np.testing.assert_array_equal(mlopt_backend.run_node(node, [a, b])[0], a + b)

    def test_errors(self):
        node = onnx.helper.make_node('NoSuchOperator', ['a'], ['c'])
        with self.assertRaisesRegex(mlopt_backend.MloptError, "operator 'NoSuchOperator'"):
            mlopt_backend.run_node(node, [np.float32([1])])
        node = onnx.helper.make_node('Relu', ['a'], ['c'])
        with self.assertRaisesRegex(mlopt_backend.MloptError, "operand 'a' is no input"):
            mlopt_backend.run_node(node, [])


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else ''
    known, tests, left_out = listed(), unittest.TestSuite(), 0
    cases = Tests(mlopt_backend.MloptBackend, __name__).test_cases
    for kind, case in sorted(cases.items()):
        if kind == 'OnnxBackendRealModelTest':
            print('SKIP the models of onnx.backend.test that are downloaded')
            left_out += 1
            continue
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
            name = test.id().split('.')[-1]
            if not name.endswith('_cpu') or not re.search(pattern, name):
                continue
            if name[:-len('_cpu')] in known:
                left_out += 1
            else:
                tests.addTest(test)
    tests.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(RunNode))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0).run(tests)
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print('%d passed, %d failed, %d skipped' % (result.testsRun - failed - skipped, failed, skipped + left_out))
    return failed > 0


sys.exit(main())
