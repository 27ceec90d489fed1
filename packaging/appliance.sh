#!/bin/sh
# Installs the Debian package on a machine of its own and tries it there: a
# Debian 12 in a container with systemd as PID 1. Prints a table; ends with 0
# if every row is ok, 1 if one is not, 69 if this machine lacks something.
#
#   packaging/appliance.sh [--version V] [--deb FILE] [--keep]
#
# As root, with Debian's debootstrap and systemd-container. --deb takes a
# package that is built already; --keep leaves the machine in
# .cache/appliance/machine to look at. The bare Debian is made once
# (.cache/appliance/debian-*) and copied for each run; the copy has no network.
# What is proven, and what was measured: packaging/README.md.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
cache=$top/.cache/appliance
machine=$cache/machine
suite=bookworm
# What the probe needs beside the package and systemd.
include=systemd-sysv,dbus,procps,openssl,mosquitto-clients,libseccomp2,jq,curl
mirror=${GATEHOUSE_MIRROR:-http://deb.debian.org/debian}
bound=150 # seconds for one boot

version= deb= keep=
while [ $# -gt 0 ]; do
	case $1 in
	--version) version=$2; shift ;;
	--deb) deb=$(realpath "$2"); shift ;;
	--keep) keep=yes ;;
	*) echo "appliance.sh: unknown argument $1; see the head of the script" >&2; exit 64 ;;
	esac
	shift
done
[ "$(id -u)" = 0 ] || { echo "appliance.sh: needs root: debootstrap and systemd-nspawn do" >&2; exit 69; }

# need COMMAND PACKAGE installs what is missing, and says by name what cannot be had.
need() {
	command -v "$1" >/dev/null && return
	echo "appliance.sh: installing $2"
	apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2" >/dev/null || true
	command -v "$1" >/dev/null || { echo "appliance.sh: $1 is missing, and the Debian package $2 did not bring it" >&2; exit 69; }
}
need debootstrap debootstrap
need systemd-nspawn systemd-container
need flock util-linux

mkdir -p "$cache"
exec 9>"$cache/lock"
flock -n 9 || { echo "appliance.sh: another run uses $cache" >&2; exit 69; }

inside= watcher=
clean() {
	for pid in $watcher $inside; do kill "$pid" 2>/dev/null || true; done
	[ -z "$inside" ] || wait "$inside" 2>/dev/null || true
	[ -n "$keep" ] || rm -rf --one-file-system "$machine" "$cache/packages"
}
trap clean EXIT
trap 'exit 130' INT TERM

debian=$cache/debian-$(printf '%s %s' "$suite" "$include" | md5sum | cut -c1-12)
if [ ! -d "$debian" ]; then
	echo "appliance.sh: making a bare Debian ($suite) with debootstrap; a minute, once"
	rm -rf --one-file-system "$cache"/debian-*
	debootstrap --variant=minbase --include="$include" "$suite" "$debian.new" "$mirror" >"$cache/debootstrap.log" 2>&1 ||
		{ tail -5 "$cache/debootstrap.log" >&2; echo "appliance.sh: debootstrap failed, see $cache/debootstrap.log" >&2; exit 69; }
	rm -rf "$debian.new"/var/cache/apt/archives/*.deb
	mv "$debian.new" "$debian"
fi

# The package, and a later one that differs in its version and its default
# configuration: dpkg has to keep what the operator wrote.
rm -rf --one-file-system "$machine" "$cache/packages"
mkdir -p "$cache/packages/later"
[ -n "$deb" ] || deb=$("$here/deb.sh" ${version:+--version "$version"} --out "$cache/packages")
dpkg-deb -R "$deb" "$cache/packages/later"
sed -i 's/^Version: .*/&+later/' "$cache/packages/later/DEBIAN/control"
echo "# A later version explains more." >>"$cache/packages/later/etc/gatehouse/gatehoused.yaml"
dpkg-deb --root-owner-group -Zgzip --build "$cache/packages/later" "$cache/packages/later.deb" >/dev/null

cp -a --reflink=auto "$debian" "$machine"
probe=$machine/probe
mkdir "$probe"
cp "$here"/appliance/*.sh "$probe"
cp "$deb" "$probe/gatehouse.deb"
mv "$cache/packages/later.deb" "$probe/later.deb"
tr -d - </proc/sys/kernel/random/uuid >"$machine/etc/machine-id"
echo '127.0.0.1 localhost' >"$machine/etc/hosts"
# The first boot ends without stopping anything, as when somebody pulls the plug.
cat >"$machine/etc/systemd/system/probe.service" <<UNIT
[Unit]
Description=Tries the package
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/bin/bash /probe/run.sh
StandardOutput=append:/probe/table
StandardError=append:/probe/errors
TimeoutStartSec=${bound}s
[Install]
WantedBy=multi-user.target
UNIT
ln -s ../probe.service "$machine/etc/systemd/system/multi-user.target.wants/probe.service"
: >"$probe/table"

# boot NAME: systemd as PID 1, without network, until the probe has ended.
boot() {
	echo "$1" >"$probe/stage"
	rm -f "$probe/ended"
	timeout -k 5 "$((bound + 30))" systemd-nspawn --quiet --register=no --keep-unit -D "$machine" -b --private-network \
		-M "gatehouse-$$" --console=pipe >"$probe/console.$1" 2>&1 9>&- &
	inside=$!
	tail -n +"$(($(wc -l <"$probe/table") + 1))" -f -s 0.2 --pid="$inside" "$probe/table" &
	watcher=$!
	wait "$inside" || true
	inside=
	wait "$watcher" || true
	watcher=
	if [ ! -f "$probe/ended" ]; then
		echo "appliance.sh: the $1 boot did not come to its end; the console's last lines:" >&2
		tail -25 "$probe/console.$1" >&2
		[ ! -s "$probe/errors" ] || tail -5 "$probe/errors" >&2
		exit 1
	fi
}
began=$(date +%s)
echo "== $(basename "$deb") on $(. "$machine/etc/os-release" && echo "$PRETTY_NAME"), $(systemd-nspawn --version | sed -n '1s/ (.*//p') outside"
for stage in first second; do boot "$stage"; done

good=$(grep -c '^ok ' "$probe/table" || true)
bad=$(grep -c '^FAIL ' "$probe/table" || true)
echo "== $good ok, $bad failed, $(($(date +%s) - began)) s"
[ "$bad" = 0 ] && [ "$good" -gt 0 ]
