#!/bin/sh
# tests/cli/check.sh -- the command line tests, as `make check` starts them (in the build folder).
exec sh "${srcdir:-.}/tests/cli/run.sh" ./mlopt
