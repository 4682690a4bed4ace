# What run.sh and test.sh share. Everything said here goes to stderr, so that the output of a
# program started afterwards stays clean.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/packaging/dependencies.sh"

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

# missing_packages NAME...: those of them that are not installed, one a line.
missing_packages() {
    local known name
    # dpkg-query fails as soon as one name is unknown to it, and still lists the others.
    known=$(dpkg-query --show --showformat '${db:Status-Status}:${Package}\n' "$@" 2>/dev/null) || true
    for name in "$@"; do
        [[ $'\n'$known$'\n' == *$'\n'"installed:$name"$'\n'* ]] || printf '%s\n' "$name"
    done
}

# Runs a command as root, through sudo when need be.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif [[ -t 0 ]]; then
        sudo -- "$@"
    else
        sudo --non-interactive -- "$@" # nobody is there to type a password
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        -o Dpkg::Use-Pty=0 "$@" >&2 </dev/null
}

# A package list that was never fetched, or is too old, knows no candidate or names files that are
# gone: only then is it fetched.
install_packages() {
    local names=("$@") name
    for name in "${names[@]}"; do
        if ! apt-cache show "$name" >/dev/null 2>&1; then
            as_root apt-get update >&2 </dev/null
            break
        fi
    done
    apt_install "${names[@]}" || { as_root apt-get update >&2 </dev/null && apt_install "${names[@]}"; }
}

# install_missing NAME...: makes sure that the packages are there. QLLAMA_SKIP_INSTALL=1 leaves the
# system alone.
install_missing() {
    [[ ${QLLAMA_SKIP_INSTALL:-} == 1 ]] && return
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
        fail "This script installs what it needs with apt, which this system does not have." \
            "Install what packaging/dependencies.sh names and set QLLAMA_SKIP_INSTALL=1."
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [[ ${#missing[@]} -eq 0 ]] && return
    [[ $EUID -eq 0 ]] || command -v sudo >/dev/null ||
        fail "Packages are missing and there is no sudo to install them." \
            "As root: apt-get install ${missing[*]}"
    say "Installing ${missing[*]}"
    install_packages "${missing[@]}" ||
        fail "The packages could not be installed (see above)." \
            "By hand, as root: apt-get install ${missing[*]}"
}

# build_preset PRESET [TARGET...]: configures once, then builds what changed.
build_preset() {
    local preset=$1
    shift
    local folder=$root/build/$preset launcher=()
    command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    if [[ ! -f $folder/build.ninja ]]; then
        say "Configuring build/$preset"
        cmake --preset "$preset" -S "$root" -B "$folder" "${launcher[@]}" >&2
    fi
    # Silent when nothing has changed, so that a second run shows the program's own words only.
    ninja -C "$folder" -n "$@" 2>/dev/null | grep --quiet 'no work to do' && return
    say "Building build/$preset"
    ninja -C "$folder" -j "$(nproc)" "$@" >&2
}
