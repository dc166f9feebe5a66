#!/bin/sh
# Makes .venv and assets/models ready. `setup.sh` for running the appliance, `setup.sh test` for testing it as well.
#
# Every step leaves a stamp in .venv with a hash of what it was made from, so that a run with nothing to do costs a few
# milliseconds and an interrupted one goes on where it stopped. What is slow to make is kept outside the checkout, in
# ${XDG_CACHE_HOME:-~/.cache}/secureai-appliance: written under another name first, then renamed.
set -eu

purpose=${1:-run}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(dirname -- "$here")
venv=$root/.venv
stamps=$venv/stamps
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set: set it or XDG_CACHE_HOME}/.cache}/secureai-appliance

# the engine's build: for any x86-64 CPU, with a variant of the arithmetic for each generation, chosen at start
llama_flags='-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON -DLLAVA_BUILD=OFF'

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "secureai set-up: $*"
    exit 1
}

# install_hint DEBIAN-PACKAGES FEDORA-PACKAGES: the command that installs them here
install_hint() {
    if command -v apt-get >/dev/null 2>&1; then
        printf 'apt-get install -y %s' "$1"
    elif command -v dnf >/dev/null 2>&1; then
        printf 'dnf install -y %s' "$2"
    else
        printf 'install %s (Debian, Ubuntu) or %s (Fedora, RHEL)' "$1" "$2"
    fi
}

hash_of() { cat -- "$@" | sha256sum | cut -c1-32; }

# up_to_date STEP KEY: did STEP end well, and from just this?
up_to_date() {
    made_from=
    [ ! -f "$stamps/$1" ] || read -r made_from <"$stamps/$1" || :
    [ "$made_from" = "$2" ]
}

done_with() {
    printf '%s\n' "$2" >"$stamps/$1.new"
    mv -f -- "$stamps/$1.new" "$stamps/$1"
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
install() { pip install --quiet --no-input --require-hashes "$@" || fail 'pip could not install the packages above.'; }

# One set-up at a time for each cache: a second one waits, and then finds most of it done.
take_turn() {
    [ -z "${turn_taken-}" ] || return 0
    turn_taken=yes
    mkdir -p -- "$cache" 2>/dev/null || fail "$cache can't be written: set XDG_CACHE_HOME to a folder that can."
    command -v flock >/dev/null 2>&1 || return 0
    exec 9>"$cache/setup.lock"
    flock -n 9 && return 0
    say 'Another set-up is running; waiting for it.'
    flock 9
}

# settled CHECK...: is it so already, or now that it is our turn? Another set-up may have done it while we waited.
settled() {
    "$@" && return 0
    take_turn
    "$@"
}

# --- Python -------------------------------------------------------------------------------------------------------

supported() { "$1" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' 2>/dev/null; }

find_python() {
    for candidate in ${SECUREAI_PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if command -v "$candidate" >/dev/null 2>&1 && supported "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

make_venv() {
    [ "$(uname -s) $(uname -m)" = 'Linux x86_64' ] ||
        fail "this is for Linux on x86-64; here is $(uname -s) on $(uname -m)."
    python=$(find_python) ||
        fail "Python 3.11, 3.12 or 3.13 is needed (SECUREAI_PYTHON names one): $(install_hint 'python3 python3-venv' python3.12)"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv module: $(install_hint python3-venv python3)"
    say "Making .venv with $("$python" -V)"
    rm -rf -- "$venv"
    "$python" -m venv "$venv" || fail "$python could not make $venv."
    mkdir -p -- "$stamps"
}

# A checkout that was moved, or a Python that was replaced, needs a new one: scripts in there hold absolute paths.
venv_key() { printf '%s %s' "$("$venv/bin/python" -V 2>/dev/null)" "$venv"; }

venv_there() { [ -x "$venv/bin/python" ] && up_to_date venv "$(venv_key)"; }

ready_venv() {
    settled venv_there && return 0
    make_venv
    done_with venv "$(venv_key)"
}

ready_packages() { # STEP REQUIREMENTS
    key=$(hash_of "$2")
    settled up_to_date "$1" "$key" && return 0
    say "Installing $(basename -- "$2")"
    install -r "$2"
    done_with "$1" "$key"
}

# --- the engine ---------------------------------------------------------------------------------------------------

llama_version() { sed -n 's/^llama-cpp-python==\([^ ]*\).*/\1/p' "$here/requirements-llama.txt"; }

compiler_there() {
    { command -v "${CC:-cc}" && command -v "${CXX:-c++}"; } >/dev/null 2>&1 ||
        fail "a C and C++ compiler is needed to build the engine: $(install_hint 'gcc g++' 'gcc gcc-c++')"
}

# report_progress PID LOG: a line now and then until PID has ended
report_progress() {
    started=$(date +%s)
    waited=0
    while kill -0 "$1" 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
        [ $((waited % 15)) -eq 0 ] || continue
        step=$(grep -o '\[[0-9]*/[0-9]*\]' "$2" | tail -n 1) || :
        elapsed=$(($(date +%s) - started))
        say "  building the engine $step $((elapsed / 60)) min $((elapsed % 60)) s"
    done
}

# The wheel is made in a folder of its own below the cache and renamed into place when it is whole.
build_llama() { # TARGET-FOLDER
    compiler_there
    say "Building llama-cpp-python $(llama_version): about 10 minutes on two cores, this first time only."
    # a build that was killed leaves its folder; under the lock nobody else's can be there
    if command -v flock >/dev/null 2>&1; then rm -rf -- "$cache"/build.*; fi
    work=$(mktemp -d "$cache/build.XXXXXX")
    builder=
    # the builder leads a session of its own, so that the compilers end with it
    own_session=
    ! command -v setsid >/dev/null 2>&1 || own_session=setsid
    trap 'if [ -n "$builder" ]; then kill -- "${own_session:+-}$builder" 2>/dev/null || :; fi; rm -rf -- "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    "$venv/bin/python" -m venv "$work/venv"
    "$work/venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-input --require-hashes \
        -r "$here/requirements-build.txt" || fail 'pip could not install the build tools above.'
    (
        # flags of the person's own would make another wheel than the one the cache's name promises
        unset CFLAGS CXXFLAGS CPPFLAGS LDFLAGS FORCE_CMAKE CMAKE_GENERATOR SKBUILD_CMAKE_ARGS
        PATH=$work/venv/bin:$PATH CMAKE_ARGS=$llama_flags TMPDIR=$work
        export PATH CMAKE_ARGS TMPDIR
        exec $own_session "$work/venv/bin/python" -m pip --disable-pip-version-check wheel --verbose --no-input --no-deps \
            --no-build-isolation --no-binary llama-cpp-python --no-cache-dir --require-hashes \
            -r "$here/requirements-llama.txt" --wheel-dir "$work/wheel"
    ) >"$work/log" 2>&1 9>&- &
    builder=$!
    report_progress "$builder" "$work/log"
    if ! wait "$builder"; then
        builder=
        cp -- "$work/log" "$cache/llama-build.log"
        tail -n 20 "$work/log" >&2
        fail "the engine could not be built; the whole log is $cache/llama-build.log"
    fi
    builder=
    mkdir -p -- "$(dirname -- "$1")"
    mv -T -- "$work/wheel" "$1" 2>/dev/null || [ -d "$1" ] || fail "$1 can't be written."
    rm -rf -- "$work"
    trap - EXIT INT TERM HUP
}

# glibc belongs to the key: a home folder can be shared by machines with an older one
llama_folder() {
    flags=$(printf '%s' "$llama_flags" | sha256sum | cut -c1-12)
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null | tr -d ' ') || :
    printf '%s/wheels/llama-cpp-python-%s-%s-py3-%s-%s' "$cache" "$(llama_version)" "$flags" "$(uname -m)" "${libc:-libc}"
}

ready_llama() {
    key="$(hash_of "$here/requirements-llama.txt") $llama_flags"
    settled up_to_date llama "$key" && return 0
    folder=$(llama_folder)
    [ -d "$folder" ] || build_llama "$folder"
    pip install --quiet --no-input --no-index --no-deps --force-reinstall "$folder"/llama_cpp_python-*.whl ||
        fail "the engine's wheel can't be installed; delete $folder and start again."
    done_with llama "$key"
}

# --- models and the package itself ---------------------------------------------------------------------------------

models_there() { # KEY
    up_to_date models "$1" || return 1
    sed -n 's/^file = "\(.*\)"$/\1/p' "$root/assets/models.toml" | while read -r file; do
        [ -f "$root/assets/models/$file" ] || exit 1
    done
}

ready_models() {
    key=$(hash_of "$root/assets/models.toml" "$here/convert_minilm.py" "$here/requirements-models.txt")
    settled models_there "$key" && return 0
    "$venv/bin/python" "$here/models.py" --cache "$cache" || fail 'the bundled models are not complete.'
    done_with models "$key"
}

ready_package() {
    key=$(hash_of "$root/pyproject.toml")
    settled up_to_date package "$key" && return 0
    pip install --quiet --no-input --no-deps --no-build-isolation --no-index -e "$root" ||
        fail 'the package itself could not be installed.'
    done_with package "$key"
}

# --- what only the tests need --------------------------------------------------------------------------------------

# system_tools WHAT-FOR DEBIAN FEDORA COMMAND...: installs them as root; where that can't be, CI ends and others go on
system_tools() {
    what=$1 debian=$2 fedora=$3
    shift 3
    missing=
    for tool in "$@"; do command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"; done
    [ -n "$missing" ] || return 0
    take_turn
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "Installing $debian"
        # shellcheck disable=SC2086  # a list of packages
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $debian; } \
            >"$cache/apt.log" 2>&1 9>&- && return 0
        tail -n 5 "$cache/apt.log" >&2
    fi
    [ "${CI-}" != true ] || fail "$what need$missing: $(install_hint "$debian" "$fedora")"
    say "$what are left out, for want of$missing: $(install_hint "$debian" "$fedora")"
    return 1
}

node_client_there() { up_to_date node "$1" && [ -d "$root/tests/clients/node/node_modules" ]; }

ready_node_client() {
    system_tools 'The tests with the JavaScript client' 'nodejs npm' 'nodejs npm' node npm || return 0
    key=$(hash_of "$root/tests/clients/node/package-lock.json")
    settled node_client_there "$key" && return 0
    say 'Installing tests/clients/node'
    (cd -- "$root/tests/clients/node" && npm ci --no-audit --no-fund --ignore-scripts --loglevel error >&2) ||
        fail 'npm could not install tests/clients/node.'
    done_with node "$key"
}

# --- in order -----------------------------------------------------------------------------------------------------

ready_venv
ready_packages runtime "$here/requirements.txt"
ready_llama
ready_models
ready_package
if [ "$purpose" = test ]; then
    ready_packages test "$here/requirements-test.txt"
    system_tools 'The tests in a browser' 'chromium chromium-driver' 'chromium chromedriver' chromium chromedriver || :
    system_tools 'The tests of the printed commands' curl curl curl || :
    ready_node_client
fi
