#!/bin/sh
# Installs what is missing: system packages from setup/packages.txt, Python packages from
# requirements.lock into .venv. Usage: setup/install.sh [GROUP ...], of that file's groups.
# NO_INSTALL=1 only lists what is missing.
set -eu
cd "$(dirname "$0")/.."
groups="all $*"
. /etc/os-release

say() { printf 'vmapbench setup: %s\n' "$*"; }

# Print "name suite" of every wanted package; the suite is empty for the release's own.
wanted() {
    while read -r group entry; do
        case " $groups " in *" $group "*) ;; *) continue ;; esac
        name=${entry%@*} suite=
        case $entry in
        *@bookworm-only) [ "${VERSION_CODENAME:-}" = bookworm ] || continue ;;
        *@bookworm-*) [ "${VERSION_CODENAME:-}" != bookworm ] || suite=${entry#*@} ;;
        *@trixie-*)
            case ${VERSION_CODENAME:-} in bookworm | trixie) suite=${entry#*@} ;; esac ;;
        esac
        echo "$name $suite"
    done <setup/packages.txt
}

# Whether a package is installed; for QEMU, in version 9.2 or newer.
present() {
    version=$(dpkg-query -W -f '${Status}=${Version}' "$1" 2>/dev/null) || return 1
    case $version in "install ok installed="*) ;; *) return 1 ;; esac
    case $1/$2 in
    qemu-*/?*) dpkg --compare-versions "${version#*=}" ge 1:9.2 ;;
    esac
}

# Print the suites that the missing packages come from.
suites() { printf '%s\n' $special | sed -n 's,.*/,,p' | sort -u; }

# Without a terminal sudo cannot ask for a password.
may_sudo() {
    command -v sudo >/dev/null || return 1
    sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }
}

root=
[ "$(id -u)" = 0 ] || root=sudo
missing=$(wanted | while read -r name suite; do present "$name" "$suite" || echo "$name${suite:+/$suite}"; done)

if [ -n "$missing" ]; then
    say "missing:" $missing
    if [ -n "${NO_INSTALL:-}" ]; then
        say "NO_INSTALL is set: install them, then run this again"
        exit 3
    fi
    command -v apt-get >/dev/null || { say "no apt-get here: install them by hand"; exit 3; }
    plain=$(printf '%s\n' $missing | grep -v / || true)
    special=$(printf '%s\n' $missing | grep / || true)
    if [ -n "$root" ] && ! may_sudo; then
        say "you are not root and may not use sudo; an administrator has to run:"
        echo "    apt-get update"
        for suite in $(suites); do
            echo "    '$PWD/setup/add-suite.sh' $suite && apt-get update"
        done
        for package in $special; do echo "    apt-get install -t ${package#*/} ${package%/*}"; done
        [ -z "$plain" ] || echo "    apt-get install --no-install-recommends" $plain
        exit 3
    fi
    $root apt-get update -qq
    for suite in $(suites); do
        $root setup/add-suite.sh "$suite"
        $root apt-get update -qq
    done
    say "installing:" $missing
    # -t, so that the dependencies of a suite's packages come from that suite too.
    [ -z "$plain" ] || $root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $plain >/dev/null
    for package in $special; do
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            -t "${package#*/}" "${package%/*}" >/dev/null
    done
fi

stamp=.venv/requirements.sha256
if ! sha256sum --status -c "$stamp" 2>/dev/null; then
    if [ -n "${NO_INSTALL:-}" ]; then
        say "missing: the Python packages of requirements.lock in .venv"
        exit 3
    fi
    say "installing Python packages into .venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { say "python3 is older than 3.11"; exit 3; }
    python3 -m venv .venv
    pip=".venv/bin/pip --disable-pip-version-check -q"
    # uv installs the same lock file in a tenth of the time; pip is used if uv cannot be installed.
    $pip install --require-hashes -r setup/uv.lock &&
        .venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r requirements.lock ||
        $pip install --require-hashes -r requirements.lock
    $pip install --no-deps --no-build-isolation -e .
    # uv does not compile. Without this, every command would if .venv is not writable by its user.
    PYTHONDONTWRITEBYTECODE= .venv/bin/python -c "import harness.run.session, harness.report.write, fabric"
    sha256sum requirements.lock setup/uv.lock >"$stamp"
fi
