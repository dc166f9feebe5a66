#!/bin/sh
# Makes dist/secureai, the whole appliance in one file. It runs where glibc is at least as new as on this machine.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(dirname -- "$here")
sh "$here/setup.sh" test
command -v objcopy >/dev/null 2>&1 || {
    echo 'objcopy is needed to put the program together: apt-get install -y binutils (or dnf install -y binutils)' >&2
    exit 1
}
cd "$root"
.venv/bin/python -m PyInstaller --noconfirm --log-level WARN --distpath dist --workpath build/pyinstaller secureai.spec
size=$(wc -c <dist/secureai)
echo "dist/secureai: $((size / 1000000)) MB, for Linux on x86-64 with glibc $(.venv/bin/python packaging/glibc_floor.py) or newer"
