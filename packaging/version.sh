#!/bin/sh
# Prints the version of this checkout, in the form of semantic versioning:
#
#   0.2.0                       the commit that carries the tag v0.2.0, or sources without git
#   0.2.0-dev.2130+g1a2b3c4     any other commit: the 2130th of its history, on the way to 0.2.0
#
# VERSION holds the release that main is on the way to. A later commit counts higher, and
# dpkg sorts the form that deb.sh makes of it (0.2.0~dev.2130+g1a2b3c4) below the release:
# every package replaces an older one without being asked to downgrade.
#
#   packaging/version.sh
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
next=$(cat "$top/VERSION")
case $next in
[0-9]*.[0-9]*.[0-9]*) ;;
*) echo "version.sh: VERSION holds '$next'; it must be like 1.2.3" >&2; exit 65 ;;
esac
git() { command git -C "$top" "$@"; }
if [ ! -e "$top/.git" ]; then # sources without their history
	echo "$next"
	exit
fi
git rev-parse --git-dir >/dev/null || { # it has said why
	echo "version.sh: $top/.git is there and git cannot read it, so that no version can be counted" >&2
	exit 65
}
if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
	echo "version.sh: this clone is shallow, so that its commits cannot be counted: git fetch --unshallow" >&2
	exit 65
fi
dirty=
[ -z "$(git status --porcelain --untracked-files=no)" ] || dirty=.dirty
if [ -z "$dirty" ] && [ "$(git tag --points-at HEAD --list "v$next")" = "v$next" ]; then
	echo "$next"
	exit
fi
echo "$next-dev.$(git rev-list --count HEAD)+g$(git rev-parse --short=10 HEAD)$dirty"
