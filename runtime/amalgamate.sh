#!/bin/sh
# runtime/amalgamate.sh -- the runtime as one source file and one header.
#
#   sh runtime/amalgamate.sh FOLDER      writes FOLDER/mlopt_rt.c and FOLDER/mlopt_rt.h
#
# They compile alone, cc -std=c11 -pthread -c mlopt_rt.c, and need nothing but the C library.  With
# -DMLRT_WITH_SODIUM they can require signatures, and need libsodium.  With -DMLRT_WITH_CUDA they run packages for GPUs
# by themselves, else through libmlopt_rt_cuda.so.
set -eu
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
top=$(cd "$(dirname "$0")/.." && pwd)
out=$1
version=$(sed -n 's/^AC_INIT(\[mlopt\], \[\([^]]*\)\].*/\1/p' "$top/configure.ac")
[ -n "$version" ] || { echo "$0: no version in configure.ac" >&2; exit 1; }
mkdir -p "$out"

cp "$top/include/mlopt/runtime.h" "$out/mlopt_rt.h"

# Headers that the sources share come first; their own includes of ours are dropped everywhere.
body() {
	printf '\n/* ---- %s ---- */\n' "$1"
	sed '/^#include "/d' "$top/$1"
}
{
	echo "/* mlopt_rt.c -- libmlopt_rt $version in one file, made by runtime/amalgamate.sh. */"
	echo '#ifndef _GNU_SOURCE'
	echo '#define _GNU_SOURCE'
	echo '#endif'
	echo '#include "mlopt_rt.h"'
	echo "#define MLRT_VERSION \"$version\""
	echo '#define MLRT_LOCAL static'
	for f in format.h float_mode.h ticks.h internal.h json.h object.h session.h lists.h more.h device.h error.c xxh3.c hash.c json.c elem.c container.c manifest.c \
	         list.c list_check.c list_steps.c program.c memory.c cpu.c quota.c threads.c sets.c pace.c call.c object.c frame.c sizes.c \
	         control.c object_ops.c more.c steps.c state.c state_set.c tensors.c session.c golden.c signature.c device.c launch.c open.c version.c; do
		body "runtime/$f"
	done
	echo '#ifdef MLRT_WITH_CUDA'
	for f in cuda.h cuda_driver.c cuda_model.c cuda_flat.c cuda_session.c; do
		body "runtime/$f"
	done
	echo '#endif'
} > "$out/mlopt_rt.c.tmp"
mv "$out/mlopt_rt.c.tmp" "$out/mlopt_rt.c"
