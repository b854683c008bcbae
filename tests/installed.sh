#!/bin/sh
# tests/installed.sh -- what `make install` puts down is usable: the program, the libraries through
# pkg-config, the examples; and the libraries export their interface and nothing else.
# BUILD, SRC, CC are set.
root=$(mktemp -d) || exit 2
trap 'rm -rf "$root"' EXIT
passed=0 failed=0
check() { # check TEXT COMMAND...
	text=$1
	shift
	if "$@" >"$root/log" 2>&1; then
		passed=$((passed + 1))
	else
		echo "FAIL $text"
		tail -n 20 "$root/log"
		failed=$((failed + 1))
	fi
}

MAKEFLAGS= make -C "$BUILD" install DESTDIR="$root" >"$root/log" 2>&1 ||
	{ tail -n 20 "$root/log"; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
pc=$(dirname "$(find "$root" -name mlopt_rt.pc)")
lib=$(dirname "$pc")
bin=$(dirname "$(find "$root" -type f -name mlopt)")
export PKG_CONFIG_PATH="$pc" PKG_CONFIG_SYSROOT_DIR="$root" LD_LIBRARY_PATH="$lib" XDG_CACHE_HOME="$root/cache"
model=$SRC/tests/data/models/zoo/tiny_dscnn/model.onnx

build() { # build MODULE SOURCE PROGRAM
	${CC:-cc} -std=gnu11 -Wall -Wextra -Werror "$2" $(pkg-config --cflags --libs "$1") -pthread -o "$3"
}
exports() { # exports LIBRARY HEADER: every exported function is declared in the header
	nm -D --defined-only "$1" | sed -n 's/^[0-9a-f]* [TDBRVWi] //p' | grep -vE '^(__bss_start|_edata|_end|_init|_fini)$' >"$root/names"
	test -s "$root/names" || return 1
	while read -r name; do
		grep -q "\<$name(" "$2" || { echo "$1 exports $name, not in $2"; return 1; }
	done <"$root/names"
}
says() { # says TEXT COMMAND...: it fails, with that text
	text_said=$1
	shift
	"$@" >"$root/said" 2>&1 && return 1
	cat "$root/said"
	grep -qF "$text_said" "$root/said"
}
runs() {
	"$root/run_package" -n 3 -T 2 "$root/model.mlopt" >"$root/out" && cat "$root/out" && grep -q '^1 x 3 runs on 2 threads' "$root/out"
}

cat >"$root/compile.c" <<'END'
#include <mlopt/mlopt.h>
#include <stdio.h>

static void say(void *user, MloptSeverity severity, const char *where, const char *text)
{
	(void)user;
	(void)severity;
	fprintf(stderr, "%s: %s\n", where ? where : "compile", text);
}

int main(int argc, char **argv)
{
	MloptModel *m;
	MloptStatus st = argc == 3 ? mlopt_model_load(argv[1], &m, say, NULL) : MLOPT_ERR_USAGE;

	if (st == MLOPT_OK) {
		st = mlopt_compile_file(m, NULL, argv[2], NULL, say, NULL);
		mlopt_model_free(m);
	}
	return st;
}
END

check "the runtime exports what runtime.h declares" exports "$lib/libmlopt_rt.so" "$SRC/include/mlopt/runtime.h"
check "its part for GPUs exports one function" exports "$lib/libmlopt_rt_cuda.so" "$SRC/runtime/device.h"
if [ -f "$lib/libmlopt_rt_more.so" ]; then
	echo "mlrt_more_enter(" >"$root/more.h"
	check "what lies beside the runtime exports its entry" exports "$lib/libmlopt_rt_more.so" "$root/more.h"
fi
check "the compiler exports what mlopt.h declares" exports "$lib/libmlopt.so" "$SRC/include/mlopt/mlopt.h"
check "the interface of DLR is what dlr.h declares" exports "$lib/libdlr.so" "$(pkg-config --variable=includedir mlopt_dlr)/dlr.h"
check "programs linked to DLR's library find this one" sh -c "readelf -d '$lib/libdlr.so' | grep -q 'SONAME.*\\[libdlr.so\\]'"
check "the example builds with pkg-config mlopt_rt" build mlopt_rt "$SRC/examples/run_package.c" "$root/run_package"
check "the example of open sizes builds" build mlopt_rt "$SRC/examples/run_dynamic.c" "$root/run_dynamic"
check "the example of DLR's interface builds with pkg-config mlopt_dlr" build mlopt_dlr "$SRC/examples/run_dlr.c" "$root/run_dlr"
check "a program builds with pkg-config mlopt" build mlopt "$root/compile.c" "$root/compile"
check "mlopt compile" "$bin/mlopt" compile "$model" -o "$root/model.mlopt"
check "the example runs the package" runs
check "the example of open sizes runs the package" "$root/run_dynamic" -n 2 "$root/model.mlopt"
check "the example of DLR's interface runs the package" "$root/run_dlr" "$root/model.mlopt"
# what lies beside the runtime: control flow and sequences, golden vectors, signatures; the code is for x86-64
corpus=$SRC/tests/fuzz/corpus/package
if [ "$(uname -m)" = x86_64 ]; then
	printf 'mlopt public key 1\nid 0000000000000000\nkey %s\n' "$(od -An -v -tx1 -j 120 -N 32 "$corpus/signed" | tr -d ' \n')" >"$root/its.pub"
	check "golden vectors" "$root/run_package" -T 1 -g "$corpus/signed"
	check "sequences" says "the_concat: a tensor of a sequence without items" "$root/run_dynamic" "$corpus/list-loop"
	if grep -q '^Requires.private: *libsodium' "$pc/mlopt_rt.pc"; then
		check "signatures" "$root/run_package" -T 1 -k "$root/its.pub" "$corpus/signed"
	fi
	if [ -f "$lib/libmlopt_rt_more.so" ]; then
		mkdir "$root/alone"
		cp "$lib"/libmlopt_rt.so* "$root/alone"
		check "without it, other packages run" env LD_LIBRARY_PATH="$root/alone" "$root/run_package" -T 1 "$corpus/signed"
		check "without it, the error says so" says "signatures need a library beside this one: libmlopt_rt_more.so" \
			env LD_LIBRARY_PATH="$root/alone" "$root/run_package" -k "$root/its.pub" "$corpus/signed"
	fi
fi

# as configure builds it by itself: small, on Arm too
small() { # small LIBRARY STRIP
	"$2" -o "$root/stripped.so" "$1" && bytes=$(wc -c <"$root/stripped.so") && echo "$1: $bytes bytes, stripped" && [ "$bytes" -le 65536 ]
}
cflags=$(sed -n 's/^RT_OPT_CFLAGS = *//p' "$BUILD/Makefile" | sed 's/-fno-plt//')
ldflags=$(sed -n 's/^RT_OPT_LDFLAGS = *//p' "$BUILD/Makefile" | sed 's/-Wc,//g')
if [ -f "$lib/libmlopt_rt_more.so" ] && [ -n "$ldflags" ]; then
	check "the runtime takes 64 KiB at most" small "$(readlink -f "$lib/libmlopt_rt.so")" "${STRIP:-strip}"
	cross=${AARCH64_CC:-aarch64-linux-gnu-gcc} # has a C library, too
	if command -v "$cross" >/dev/null; then
		arm=$cross
		case $(${CC:-cc} --version) in *clang*) arm="${CC:-cc} --target=aarch64-linux-gnu" ;; esac
		check "the runtime builds for Arm" $arm -std=gnu11 -fPIC -DPIC -shared -fvisibility=hidden $cflags $ldflags \
			-DMLRT_MORE_LIBRARY='"libmlopt_rt_more.so"' -I"$SRC" -I"$SRC/include" "$SRC"/runtime/*.c -o "$root/arm.so" -lpthread
		check "the runtime takes 64 KiB at most on Arm" small "$root/arm.so" "${cross%gcc}strip"
	fi
fi
check "the library compiles" "$root/compile" "$model" "$root/model.mlopt"
check "the example runs the library's package" runs
# and libsodium where mlopt_rt.pc says that it was built with it
sodium=$(sed -n 's/^Requires.private: *libsodium *$/|libsodium/p' "$pc/mlopt_rt.pc")
check "the runtime needs only the C library" sh -c "! ldd '$lib/libmlopt_rt.so' | grep -vE 'linux-vdso|libc\.so|libpthread|libdl|libm\.so|ld-linux$sodium'"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
