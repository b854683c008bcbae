#!/bin/sh
# tests/includes.sh -- who may include whom: the table of docs/ARCHITECTURE.md, checked.  SRC is set.
cd "$SRC" || exit 2
passed=0 failed=0

# allow FOLDER PATTERN: quoted includes of the folder's files must match the extended regular expression
allow() {
    bad=$(grep -nE '^[[:space:]]*#[[:space:]]*include "' $(ls "$1"/*.c "$1"/*.h "$1"/*.def 2>/dev/null) |
        grep -vE "include \"($2)")
    if [ -z "$bad" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL %s may not include:\n%s\n' "$1" "$bad"
    fi
}

# only REGEX-FOLDERS may include <PATTERN>
only() {
    bad=$(grep -rnE "^[[:space:]]*#[[:space:]]*include <($2)" --include='*.c' --include='*.h' \
        ir frontend passes quant prune codegen targets package runtime tools | grep -vE "^($1)/")
    if [ -z "$bad" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL only %s may include <%s>:\n%s\n' "$1" "$2" "$bad"
    fi
}

allow ir/base 'ir/base/'
allow ir/ref 'ir/ref/|ir/elem|ir/op|ir/base/'
allow ir 'ir/|config.h'
allow frontend 'ir/|frontend/|config.h'
allow passes 'ir/|passes/|targets/target.h|codegen/lower.h'
allow quant 'ir/|quant/|passes/match.h|passes/pass.h'
allow prune 'ir/|prune/|quant/ptq.h|passes/match.h'
allow targets 'ir/base/|targets/|config.h'
allow codegen 'ir/|codegen/|targets/|runtime/format.h|config.h'
allow package 'ir/base/|package/|runtime/|mlopt/runtime.h'
allow runtime 'runtime/|mlopt/runtime.h|config.h'
allow bindings/dlr 'bindings/dlr/|mlopt/runtime.h'
only 'codegen|targets' 'llvm'
only 'frontend' 'protobuf-c'
only 'tools' 'jansson'
only 'package|runtime|tools' 'sodium'
only 'ir|quant|prune' 'cblas'
only 'prune' 'f77blas'
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
