#!/bin/sh
# Says what keeps this checkout from being released: every reason at once, a line each, exit code 1.
#
#   packaging/release-check.sh
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
bad=0
wrong() { echo "release-check: $1" >&2; bad=1; }

next=$(cat VERSION)
# An address below .invalid stands where the one who releases has to write his own.
for file in SECURITY.md packaging/debian/control.in; do
	grep -n '\.invalid' "$file" | while IFS=: read -r line text; do
		echo "release-check: $file:$line holds a placeholder: $text" >&2
	done
	! grep -q '\.invalid' "$file" || bad=1
done
grep -q "^## $next\b" CHANGELOG.md || wrong "CHANGELOG.md has no section '## $next', the version that VERSION names"
[ -z "$(git status --porcelain)" ] || wrong "there are uncommitted changes"
[ "$(git tag --points-at HEAD --list "v$next")" = "v$next" ] || wrong "the tag v$next is not on this commit: git tag v$next"
[ $bad = 0 ] && echo "release-check: $next can be released"
exit $bad
