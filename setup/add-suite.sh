#!/bin/sh
# Adds SUITE of Debian to apt's sources, from the mirror that this machine uses for Debian.
# Usage, as root: setup/add-suite.sh SUITE
set -eu
suite=$1
. /etc/os-release

# Print the addresses of Debian's suite $1. Other vendors' suites may have the same codename, so the
# origin is compared as well.
addresses() {
    apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(REPO_URI)' 'Created-By: Packages' |
        sed -n "s/^Debian\( Backports\)\{0,1\}|$1|//p"
}

[ -z "$(addresses "$suite")" ] || exit 0
mirror=$(addresses "$VERSION_CODENAME" | head -n 1)
if [ -z "$mirror" ]; then
    echo "vmapbench setup: apt has no source of Debian $VERSION_CODENAME; add $suite by hand" >&2
    exit 3
fi
echo "vmapbench setup: adding $suite from $mirror"
eval "$(apt-config shell folder Dir::Etc::sourceparts/d)"
cat >"$folder/$suite.sources" <<END
Types: deb
URIs: $mirror
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
