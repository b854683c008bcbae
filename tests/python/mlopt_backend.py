# tests/python/mlopt_backend.py -- mlopt as a backend of the `onnx` package (onnx.backend.base), over the two
# C libraries: libmlopt compiles, libmlopt_rt runs.
#
#   rep = MloptBackend.prepare(model)         rep.run([x]) gives a tuple of arrays
#
# MLOPT_LIBDIR: the folder of the libraries (default: where the system looks); MLOPT_CACHE: of compiled kernels
# (default: none). Sequences are lists, an optional without content is None, maps are dictionaries.
import ctypes as c
import os
import tempfile

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

# -- mlopt/mlopt.h and mlopt/runtime.h ---------------------------------------------------------------


class Options(c.Structure):
    """MloptOptions up to what is used here; `size` tells the library where it ends."""
    _fields_ = [('size', c.c_size_t), ('target', c.c_char_p), ('shapes', c.POINTER(c.c_char_p)),
                ('nshapes', c.c_size_t), ('level', c.c_int), ('jobs', c.c_int), ('cache_dir', c.c_char_p),
                ('name', c.c_char_p)]


class Error(c.Structure):
    _fields_ = [('status', c.c_int), ('text', c.c_char * 512)]


class Info(c.Structure):
    _fields_ = [('name', c.c_char_p), ('elem', c.c_char_p), ('rank', c.c_int), ('dims', c.POINTER(c.c_int64)),
                ('bytes', c.c_size_t), ('kind', c.c_char_p), ('key', c.c_char_p),
                ('dim_names', c.POINTER(c.c_char_p))]


class Text(c.Structure):
    _fields_ = [('s', c.c_char_p), ('n', c.c_int64)]


class Tensor(c.Structure):
    _fields_ = [('data', c.c_void_p), ('bytes', c.c_size_t), ('rank', c.c_int), ('dims', c.c_int64 * 16),
                ('object', c.c_void_p)]


class SessionOptions(c.Structure):
    _fields_ = [('threads', c.c_int), ('allocator', c.c_void_p), ('pool', c.c_void_p)]


MESSAGE = c.CFUNCTYPE(None, c.c_void_p, c.c_int, c.c_char_p, c.c_char_p)
P, size_t, text, status = c.c_void_p, c.c_size_t, c.c_char_p, c.c_int
COMPILER = {
    'mlopt_model_load': (status, text, c.POINTER(P), MESSAGE, P),
    'mlopt_model_free': (None, P),
    'mlopt_compile': (status, P, c.POINTER(Options), c.POINTER(P), c.POINTER(size_t), P, MESSAGE, P),
}
RUNTIME = {
    'mlrt_model_open_memory': (status, P, size_t, P, c.POINTER(P), c.POINTER(Error)),
    'mlrt_model_close': (None, P),
    'mlrt_model_inputs': (size_t, P),
    'mlrt_model_outputs': (size_t, P),
    'mlrt_model_input': (status, P, size_t, c.POINTER(Info)),
    'mlrt_model_output': (status, P, size_t, c.POINTER(Info)),
    'mlrt_session_new': (status, P, c.POINTER(SessionOptions), c.POINTER(P), c.POINTER(Error)),
    'mlrt_session_free': (None, P),
    'mlrt_session_run_tensors': (status, P, c.POINTER(Tensor), c.POINTER(Tensor), c.POINTER(Error)),
    'mlrt_object_new': (P, text, text, text),
    'mlrt_object_free': (None, P),
    'mlrt_object_append': (status, P, c.POINTER(Tensor), c.POINTER(Error)),
    'mlrt_object_append_map': (status, P, c.POINTER(Tensor), c.POINTER(Tensor), c.POINTER(Error)),
    'mlrt_object_clear': (None, P, c.c_int),
    'mlrt_object_present': (c.c_int, P),
    'mlrt_object_count': (size_t, P),
    'mlrt_object_item': (status, P, size_t, c.POINTER(Tensor)),
    'mlrt_object_map': (status, P, size_t, c.POINTER(Tensor), c.POINTER(Tensor)),
}


def load(name, functions):
    folder = os.environ.get('MLOPT_LIBDIR')
    library = c.CDLL(os.path.join(folder, name) if folder else name)
    for function, (result, *arguments) in functions.items():
        f = getattr(library, function)
        f.restype, f.argtypes = result, arguments
    return library


compiler = load('libmlopt.so.0', COMPILER)
runtime = load('libmlopt_rt.so.0', RUNTIME)


class MloptError(RuntimeError):
    pass


def check(result, error):
    if result:
        raise MloptError(error.text.decode())


# -- arrays to tensors and back ------------------------------------------------------------------------

# Types that numpy lacks are integers of their size, as in onnx.numpy_helper.
DTYPES = {'f32': 'f4', 'f64': 'f8', 'f16': 'f2', 'bf16': 'u2', 'i8': 'i1', 'i16': 'i2', 'i32': 'i4', 'i64': 'i8',
          'u8': 'u1', 'u16': 'u2', 'u32': 'u4', 'u64': 'u8', 'bool': '?', 'c64': 'c8', 'c128': 'c16'}


def to_tensor(array, elem, keep):
    """A Tensor of `elem`; what it points at is added to `keep`."""
    array = np.asarray(array)
    if elem == 'str':
        words = [w if isinstance(w, bytes) else str(w).encode() for w in array.reshape(-1)]
        data = (Text * max(len(words), 1))(*[Text(w, len(w)) for w in words])
        keep.append((data, words))
        address, nbytes = c.addressof(data), 16 * len(words)
    else:
        if np.dtype(DTYPES[elem]) != array.dtype:
            raise MloptError('an array of %s where %s is needed' % (array.dtype, elem))
        data = np.array(array, order='C')
        keep.append(data)
        address, nbytes = data.ctypes.data, data.nbytes
    return Tensor(address, nbytes, array.ndim, (c.c_int64 * 16)(*array.shape), None)


def from_tensor(t, elem):
    shape = tuple(t.dims[:t.rank])
    n = int(np.prod(shape, dtype=np.int64))
    if elem == 'str':
        words = c.cast(t.data, c.POINTER(Text)) if n else []
        flat = np.array([c.string_at(words[i].s, words[i].n).decode() for i in range(n)] + [None], dtype=object)[:n]
        return flat.reshape(shape)
    dtype = np.dtype(DTYPES[elem])
    raw = c.string_at(t.data, n * dtype.itemsize) if n else b''
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def fill_map(o, value, elem, key, keep):
    error = Error()
    keys = to_tensor(np.array(list(value), dtype=object if key == 'str' else 'i8'), key, keep)
    values = to_tensor(np.array(list(value.values()), dtype=object if elem == 'str' else DTYPES[elem]), elem, keep)
    check(runtime.mlrt_object_append_map(o, keys, values, error), error)


def to_object(value, info, keep):
    kind, elem, key = info.kind.decode(), info.elem.decode(), info.key.decode() if info.key else None
    error, o = Error(), runtime.mlrt_object_new(info.kind, info.elem, info.key)
    if not o:
        raise MemoryError()
    if kind == 'opt_seq':
        runtime.mlrt_object_clear(o, value is not None)
    items = [] if value is None else [value] if kind in ('opt', 'map') else value
    for item in items:
        if key:
            fill_map(o, item, elem, key, keep)
        else:
            check(runtime.mlrt_object_append(o, to_tensor(item, elem, keep), error), error)
    return o


def from_object(o, info):
    kind, elem, key = info.kind.decode(), info.elem.decode(), info.key.decode() if info.key else None
    if not runtime.mlrt_object_present(o):
        return None
    items, a, b = [], Tensor(), Tensor()
    for i in range(runtime.mlrt_object_count(o)):
        if key:
            runtime.mlrt_object_map(o, i, a, b)
            items.append(dict(zip(from_tensor(a, key).tolist(), from_tensor(b, elem).tolist())))
        else:
            runtime.mlrt_object_item(o, i, a)
            items.append(from_tensor(a, elem))
    return items[0] if kind in ('opt', 'map') else items


# -- compiling and running -------------------------------------------------------------------------------


def compile_model(model, shapes):
    """The bytes of a package."""
    messages = []
    say = MESSAGE(lambda user, severity, where, line: messages.append(line.decode(errors='replace')))
    handle, package, n = P(), P(), size_t()
    with tempfile.NamedTemporaryFile(suffix='.onnx') as f:
        f.write(model.SerializeToString())
        f.flush()
        options = Options(size=c.sizeof(Options), level=2, jobs=1,
                          cache_dir=os.environ.get('MLOPT_CACHE', '').encode() or None,
                          shapes=(c.c_char_p * (len(shapes) + 1))(*[s.encode() for s in shapes]), nshapes=len(shapes))
        result = compiler.mlopt_model_load(f.name.encode(), handle, say, None)
        if not result:
            result = compiler.mlopt_compile(handle, options, package, n, None, say, None)
        compiler.mlopt_model_free(handle)
    if result:
        raise MloptError('; '.join(messages))
    try:
        return c.string_at(package, n.value)
    finally:
        c.CDLL(None).free(package)


class MloptRep(BackendRep):
    def __init__(self, package):
        error = Error()
        self.model, self.session = P(), P()
        self.package = package  # must outlive the model
        check(runtime.mlrt_model_open_memory(package, len(package), None, self.model, error), error)
        check(runtime.mlrt_session_new(self.model, SessionOptions(threads=1), self.session, error), error)
        self.inputs = [self.info(runtime.mlrt_model_input, i) for i in range(runtime.mlrt_model_inputs(self.model))]
        self.outputs = [self.info(runtime.mlrt_model_output, i) for i in range(runtime.mlrt_model_outputs(self.model))]

    def __del__(self):
        runtime.mlrt_session_free(self.session)
        runtime.mlrt_model_close(self.model)

    def info(self, ask, i):
        info = Info()
        ask(self.model, i, info)
        return info

    def run(self, inputs, **kwargs):
        if isinstance(inputs, dict):
            inputs = [inputs[i.name.decode()] for i in self.inputs]
        if len(inputs) != len(self.inputs):
            raise MloptError('%d inputs where %d are needed' % (len(inputs), len(self.inputs)))
        error, keep = Error(), []
        x, y = (Tensor * (len(inputs) + 1))(), (Tensor * (len(self.outputs) + 1))()
        try:
            for i, (value, info) in enumerate(zip(inputs, self.inputs)):
                if info.kind == b'tensor':
                    x[i] = to_tensor(value, info.elem.decode(), keep)
                else:
                    x[i].object = to_object(value, info, keep)
            check(runtime.mlrt_session_run_tensors(self.session, x, y, error), error)
            return tuple(from_tensor(t, info.elem.decode()) if info.kind == b'tensor' else from_object(t.object, info)
                         for t, info in zip(y, self.outputs))
        finally:
            for t in x:
                runtime.mlrt_object_free(t.object)


class LateRep(BackendRep):
    """Of a model that does not state the shapes of all inputs: compiled for those that are given."""

    def __init__(self, model, names):
        self.model, self.names = model, names

    def run(self, inputs, **kwargs):
        if not isinstance(inputs, dict):
            inputs = dict(zip(self.names, inputs))
        shapes = ['%s=%s' % (name, 'x'.join(map(str, np.shape(inputs[name])))) for name in shapeless(self.model)]
        return MloptRep(compile_model(self.model, shapes)).run(inputs, **kwargs)


def fed(model):
    constants = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in constants]


def shapeless(model):
    return [i.name for i in fed(model)
            if i.type.HasField('tensor_type') and not i.type.tensor_type.HasField('shape')]


class MloptBackend(Backend):
    @classmethod
    def supports_device(cls, device):
        return device.split(':')[0] == 'CPU'

    @classmethod
    def prepare(cls, model, device='CPU', **kwargs):
        if not cls.supports_device(device):
            raise MloptError("device '%s' is not supported" % device)
        if shapeless(model):
            return LateRep(model, [i.name for i in fed(model)])
        return MloptRep(compile_model(model, []))

    @classmethod
    def run_model(cls, model, inputs, device='CPU', **kwargs):
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device='CPU', outputs_info=None, **kwargs):
        if not isinstance(inputs, dict):
            inputs = dict(zip([name for name in node.input if name], inputs))
        graph = onnx.GraphProto(name='node', node=[node])
        for name, value in inputs.items():
            value = np.asarray(value)
            graph.input.append(onnx.helper.make_tensor_value_info(
                name, onnx.mapping.NP_TYPE_TO_TENSOR_TYPE[value.dtype], value.shape))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
        version = kwargs.get('opset_version', onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, version)])
        return cls.run_model(model, inputs, device)


prepare, run_model, run_node = MloptBackend.prepare, MloptBackend.run_model, MloptBackend.run_node
supports_device = MloptBackend.supports_device
