#!/bin/sh
# Pins every requirements*.in into its .txt, with hashes, for Python 3.11 and later.
# Run it by hand when a dependency is added or raised; `sh packaging/lock.sh --upgrade` raises everything.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT INT TERM

python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" --disable-pip-version-check install --quiet uv==0.13.9

cd "$here"
# requirements.txt comes first: the others are constrained by it
for name in requirements requirements-build requirements-llama requirements-models requirements-test; do
    only=
    [ "$name" != requirements-llama ] || only=--no-deps
    # shellcheck disable=SC2086  # `only` is one option or none
    "$tools/venv/bin/uv" pip compile --quiet --no-config $only --universal --python-version 3.11 \
        --generate-hashes --custom-compile-command 'sh packaging/lock.sh' "$@" "$name.in" -o "$name.txt"
    echo "packaging/$name.txt: $(grep -c '^[a-z0-9].*==' "$name.txt") packages"
done
