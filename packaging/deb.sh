#!/bin/sh
# Builds the Debian package. The same sources and version give the same bytes:
# static binaries without paths and build ids, times of the last commit, owners
# root, sorted contents, gzip (xz splits its blocks by the number of threads).
#
#   packaging/deb.sh [--version V] [--arch amd64|arm64] [--out DIR] [--bin DIR]
#   packaging/deb.sh [--version V] --debian-version
#
# --bin takes binaries that are built already instead of building them;
# --debian-version builds nothing and prints the version that the package would have.
# Prints the package's path.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
version= arch=$(dpkg --print-architecture) out=$top/dist bin= show=
while [ $# -gt 0 ]; do
	case $1 in
	--debian-version) show=yes; shift; continue ;;
	--version) version=$2 ;;
	--arch) arch=$2 ;;
	--out) out=$2 ;;
	--bin) bin=$2 ;;
	*) echo "deb.sh: unknown argument $1; see the head of the script" >&2; exit 64 ;;
	esac
	shift 2
done
case $arch in
amd64 | arm64) ;;
*) echo "deb.sh: $arch: only 64-bit systems are safe for the store; use amd64 or arm64" >&2; exit 64 ;;
esac
for tool in dpkg-deb go md5sum gzip; do
	command -v $tool >/dev/null || { echo "deb.sh: $tool is missing" >&2; exit 69; }
done
[ -n "$version" ] || version=$("$here/version.sh")
# A pre-release sorts below its release for dpkg too: 0.2.0-dev.7+gabc -> 0.2.0~dev.7+gabc.
debian=$(printf %s "${version#v}" | sed 's/-/~/; s/-/./g')
case $debian in
[0-9]*.*) ;;
*) echo "deb.sh: version '$version' is not like 1.2.3 or 1.2.3-dev.4: dpkg could not tell which of two packages is newer" >&2; exit 64 ;;
esac
[ -z "$show" ] || { echo "$debian"; exit; }
: "${SOURCE_DATE_EPOCH:=$(git -C "$top" log -1 --format=%ct 2>/dev/null || echo 1767225600)}"
export SOURCE_DATE_EPOCH
umask 022

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 0755 "$stage" # it becomes the package's "./": unpacked elsewhere, that directory takes its mode
put() { # MODE SOURCE DESTINATION
	install -D -m "$1" "$2" "$stage$3"
}

for command in gatehoused gatehousectl managementd; do
	if [ -n "$bin" ]; then
		put 0755 "$bin/$command" "/usr/bin/$command"
	else
		(cd "$top" && CGO_ENABLED=0 GOARCH=$arch go build -trimpath -buildvcs=false \
			-ldflags "-s -w -buildid= -X main.version=$version -X main.built=$SOURCE_DATE_EPOCH" -o "$stage/usr/bin/$command" "./cmd/$command")
	fi
done
put 0640 "$top/configs/gatehoused.yaml" /etc/gatehouse/gatehoused.yaml
put 0640 "$top/configs/managementd.yaml" /etc/gatehouse/managementd.yaml
put 0644 "$top/configs/gatehoused.schema.json" /usr/share/gatehouse/gatehoused.schema.json
put 0644 "$top/configs/managementd.schema.json" /usr/share/gatehouse/managementd.schema.json
put 0644 "$top/configs/demo-topology.yaml" /usr/share/gatehouse/demo-topology.yaml
put 0644 "$top/configs/topicmap.example.yaml" /usr/share/doc/gatehouse/examples/topicmap.yaml
put 0644 "$here/systemd/gatehoused.service" /lib/systemd/system/gatehoused.service
put 0644 "$here/systemd/gatehoused.socket" /lib/systemd/system/gatehoused.socket
put 0644 "$here/systemd/managementd.service" /lib/systemd/system/managementd.service
put 0644 "$here/systemd/sysusers.conf" /usr/lib/sysusers.d/gatehouse.conf
put 0644 "$here/systemd/tmpfiles.conf" /usr/lib/tmpfiles.d/gatehouse.conf
put 0644 "$here/debian/copyright" /usr/share/doc/gatehouse/copyright
for doc in README.md ARCHITECTURE.md CHANGELOG.md; do
	[ ! -f "$top/$doc" ] || put 0644 "$top/$doc" "/usr/share/doc/gatehouse/$doc"
done
(cd "$top/docs" && find . -type f ! -name '*.go') | while read -r doc; do # README.md points to them
	put 0644 "$top/docs/${doc#./}" "/usr/share/doc/gatehouse/docs/${doc#./}"
done
install -d -m 0755 "$stage/etc/gatehouse/tls"
install -d -m 0700 "$stage/etc/gatehouse/credentials" "$stage/etc/gatehouse/management-credentials"

install -d -m 0755 "$stage/DEBIAN"
size=$(du -k -s --apparent-size "$stage" | cut -f1)
sed -e "s/@VERSION@/$debian/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" "$here/debian/control.in" >"$stage/DEBIAN/control"
printf '/etc/gatehouse/gatehoused.yaml\n/etc/gatehouse/managementd.yaml\n' >"$stage/DEBIAN/conffiles"
for script in postinst prerm postrm; do
	install -m 0755 "$here/debian/$script" "$stage/DEBIAN/$script"
done
(cd "$stage" && find usr lib -type f | LC_ALL=C sort | xargs md5sum) >"$stage/DEBIAN/md5sums"
find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$out"
package=$out/gatehouse_${debian}_$arch.deb
dpkg-deb --root-owner-group -Zgzip --build "$stage" "$package" >/dev/null
echo "$package"
