#!/bin/sh
# Makes the bare system of a Debian release: base.sh SUITE TARGET LISTS ARCHIVES
# Runs in mount and pid namespaces of its own; package lists and packages are moved out, for later layers and for use offline.
set -eu
suite=$1 target=$2 lists=$3 archives=$4

without() { for folder in "$@"; do printf '%s\n' "--dpkgopt=path-exclude=/usr/share/$folder/*"; done; }

mmdebstrap --mode=root --variant=apt --format=directory --quiet --skip=cleanup/apt,cleanup/reproducible \
    $(without man info doc locale lintian bug gnome bash-completion) \
    --dpkgopt=force-unsafe-io --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    "$suite" "$target"
mkdir -p "$lists/partial" "$archives/partial"
find "$target/var/lib/apt/lists" -maxdepth 1 -type f ! -name lock -exec mv -t "$lists" {} +
find "$target/var/cache/apt/archives" -maxdepth 1 -name '*.deb' -exec mv -t "$archives" {} +
rm -f "$target"/var/cache/apt/*.bin "$target"/var/log/*.log "$target"/var/log/apt/* "$target"/etc/resolv.conf "$target"/etc/hostname
