#!/bin/bash
# Boots a Debian with nothing of Weir, puts the package in, and lets inside.sh try it as an operator would. What failed is left in
# target/boot/failed.
# Needs root, mmdebstrap and systemd-nspawn. The root is kept in target/boot for the next run; each run works on a copy, and
# how a boot ended is told by the files that inside.sh leaves, not by systemd-nspawn's status.
set -euo pipefail
cd "$(dirname "$0")/../.."
deb=$(ls -t target/debian/weir_*.deb | head -1)
boot=target/boot
mkdir -p "$boot"
if [[ ! -e $boot/root.tar ]]; then
	mmdebstrap --quiet --variant=minbase \
		--include=ca-certificates,dbus,iproute2,libnss-systemd,openssl,postgresql-15,procps,systemd,systemd-sysv \
		bookworm "$boot/root.tar.next"
	mv "$boot/root.tar.next" "$boot/root.tar"
fi
root=$(mktemp -d "$boot/root.XXXXXX")
trap 'rm -rf "$root"' EXIT
tar -xf "$boot/root.tar" -C "$root"
# What an installation sees of this tree: the package, and the test itself.
mkdir -p "$root/try"
cp "$deb" systemd/boot/inside.sh "$root/try/"
cat > "$root/etc/systemd/system/try.service" <<-UNIT
	[Unit]
	After=multi-user.target postgresql.service
	[Service]
	Type=oneshot
	ExecStart=/bin/bash /try/inside.sh
	StandardOutput=append:/try/log
	StandardError=append:/try/log
	ExecStopPost=/bin/systemctl poweroff --no-block
	TimeoutStartSec=300
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../try.service "$root/etc/systemd/system/multi-user.target.wants/"
: > "$root/etc/machine-id"
for boot_number in 1 2; do
	systemd-nspawn --quiet --directory="$root" --register=no --keep-unit --private-network --boot \
		> "$boot/console.log" 2>&1 < /dev/null || true
	[[ -e $root/try/booted.$boot_number ]] || break
done
cat "$root/try/log"
if [[ -e $root/try/passed ]]; then
	echo "booted twice, everything as claimed"
else
	mkdir -p "$boot/failed" && journalctl --quiet -D "$root/var/log/journal" > "$boot/failed/journal" 2>/dev/null || true
	cp "$root/try/log" "$boot/console.log" "$boot/failed/"
	echo "see $boot/failed"
	exit 1
fi
