#!/bin/sh
# Installs the Debian packages whose commands are missing, and says which before it does.
# Where every command is there already it does nothing, and needs neither root nor network.
#
#   packaging/need.sh PACKAGE:COMMAND ...
#
# Ends with 69 (EX_UNAVAILABLE) and the name of a command that could not be had.
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing=
for pair; do
	command -v "${pair#*:}" >/dev/null || missing="$missing ${pair%%:*}"
done
[ -n "$missing" ] || exit 0

echo "installing with apt-get:$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "need.sh: this user may not install them, and sudo is missing; as root: apt-get install$missing" >&2; exit 69; }
	as_root=sudo
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ $as_root apt-get update -q &&
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1 ||
	{ tail -5 "$log" >&2; echo "need.sh: apt-get could not install:$missing" >&2; exit 69; }
for pair; do
	command -v "${pair#*:}" >/dev/null || { echo "need.sh: ${pair#*:} is missing, and the Debian package ${pair%%:*} did not bring it" >&2; exit 69; }
done
