#!/bin/sh
# Checks and tests. Without arguments everything; with arguments they go to pytest at once (`sh packaging/test.sh -k name`).
# `--binary` builds dist/secureai and runs the tests of the packaged program, with the arguments after it.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
sh "$here/setup.sh" test
cd "$here/.."
PATH=$PWD/.venv/bin:$PATH
export PATH

case ${1-} in
'')
    ruff check --quiet .
    ruff format --check --quiet .
    mypy
    lint-imports
    exec pytest
    ;;
--binary)
    shift
    sh "$here/build.sh"
    exec pytest -n 0 -m binary "$@"
    ;;
*)
    exec pytest "$@"
    ;;
esac
