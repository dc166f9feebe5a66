#!/bin/sh
# Starts the appliance from this checkout, setting up first what is not ready: `sh packaging/run.sh [--data DIR] [--port N]`
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
sh "$here/setup.sh"
exec "$(dirname -- "$here")/.venv/bin/secureai" serve "$@"
