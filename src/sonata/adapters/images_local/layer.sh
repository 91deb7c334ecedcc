#!/bin/sh
# Adds packages and files on top of other layers: layer.sh OVERLAY_OPTIONS ROOT LISTS ARCHIVES FILES [PACKAGE...]
# Runs in mount and pid namespaces of its own. FILES is a folder with `index` (lines: number mode path) and the numbered
# files. Everything happens inside of the new root, so that links in it lead nowhere else.
set -eu
options=$1 root=$2 lists=$3 archives=$4 files=$5
shift 5

inside() {
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true "$@"
}

mount -t overlay overlay -o "$options" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

if [ $# -gt 0 ]; then
    mount --bind "$lists" "$root/var/lib/apt/lists"
    mount --bind "$archives" "$root/var/cache/apt/archives"
    cat /etc/resolv.conf > "$root/etc/resolv.conf"
    # No maintainer script may start a daemon (invoke-rc.d(8)).
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    install_all() { inside apt-get -y -q -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io install --no-install-recommends "$@"; }
    # Lists of last week may name packages that are gone; without a network old lists and kept packages still do.
    if [ -z "$(find "$lists" -name '*_Packages*' -mtime -7 | head -n 1)" ]; then
        inside apt-get -q update || echo "no fresh package lists, going on with those at hand"
    fi
    install_all "$@" || { inside apt-get -q update && install_all "$@"; }
    rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf"
    rm -f "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt/* "$root"/var/cache/debconf/*-old
fi

mkdir "$root/tmp/files"
mount --bind "$files" "$root/tmp/files"
while read -r number mode path; do
    inside install -D -m "$mode" "/tmp/files/$number" "$path"
done < "$files/index"
