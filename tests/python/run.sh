#!/bin/sh
# tests/python/run.sh [PATTERN] -- tests/python/run.py with the libraries of the build folder.  BUILD and SRC are set.
python=${MLOPT_PYTHON:-/usr/bin/python3}
if ! "$python" -c 'import onnx.backend.test, numpy' 2>/dev/null; then
	echo "SKIP no onnx.backend.test for $python (Debian: python3-onnx)"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
if [ ! -f "$BUILD/.libs/libmlopt.so.0" ]; then
	echo "SKIP no shared libraries in this build"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
if grep -q __asan_init "$BUILD/.libs/libmlopt.so.0"; then
	echo "SKIP libraries with sanitizers in them cannot be loaded by $python"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
MLOPT_LIBDIR=$BUILD/.libs MLOPT_CACHE=$BUILD/tests/conform/cache PYTHONDONTWRITEBYTECODE=1
export MLOPT_LIBDIR MLOPT_CACHE PYTHONDONTWRITEBYTECODE
exec "$python" -W ignore::FutureWarning "$SRC/tests/python/run.py" "$@"
