#!/bin/sh
# Runs the asterisk of @ROOT@ with what it reads and writes in @DIR@.
exec unshare --mount --propagation slave sh -c '
set -e
root=$1 dir=$2
shift 2
mount -t tmpfs tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount --bind "$dir/etc" "$root/etc/asterisk"
mount --bind "$dir/run" "$root/run/asterisk"
for d in cache lib log spool; do mount --bind "$dir/$d" "$root/var/$d/asterisk"; done
# As on any Debian machine, its own name is in /etc/hosts: Asterisk looks for it at the begin of each call.
mount --bind "$dir/hosts" "$root/etc/hosts"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
exec chroot "$root" /usr/sbin/asterisk "$@"' asterisk '@ROOT@' '@DIR@' "$@"
