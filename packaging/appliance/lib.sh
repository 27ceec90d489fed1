# The words of the probe. A row of the table is one check.

# check NAME COMMAND...: one row. The command fails at its first failing step
# (set -e); the last line that it prints is the row's detail.
check() {
	local name=$1 out code
	shift
	out=$(set -e; "$@" 2>&1)
	code=$?
	if [ $code = 0 ]; then
		printf 'ok    %-58s %s\n' "$name" "$(tail -n 1 <<<"$out" | cut -c1-110)"
	else
		printf 'FAIL  %-58s\n' "$name"
		tail -n 6 <<<"$out" | cut -c1-220 | sed 's/^/      | /'
	fi
}

topic() { printf '\n%s\n' "$1"; }

# same WHAT GOT WANT
same() {
	[ "$2" = "$3" ] || { echo "$1 is '$2', want '$3'"; return 1; }
}

# has WHAT TEXT PART
has() {
	case $2 in *"$3"*) ;; *) echo "$1 lacks '$3': $2"; return 1 ;; esac
}

# fails COMMAND...: it must.
fails() {
	if "$@"; then echo "worked, and must not: $*"; return 1; fi
}

# within SECONDS COMMAND...: until it works. There is no set -e in a condition:
# a function with several steps joins them with &&.
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/tmp/within 2>&1; do
		if [ $SECONDS -ge $end ]; then echo "not in time: $*"; tail -n 3 /tmp/within; return 1; fi
		sleep 0.1
	done
}

# prop PROPERTY [UNIT]
prop() { systemctl show -P "$1" "${2:-gatehoused.service}"; }

# pid of the daemon; fails when there is none, because 0 means somebody else to kill and /proc
pid() {
	local p
	p=$(prop MainPID "${1:-gatehoused.service}")
	[ "$p" -gt 0 ] && echo "$p"
}

# proc FIELD of the daemon's /proc/PID/status
proc() { awk -v f="$1:" '$1 == f {print $2}' "/proc/$(pid)/status"; }

now_ms() { date +%s%3N; }

# entries JQ-FILTER: entries of the gateway in the journal
entries() { journalctl -q -u gatehoused -o json --all | jq -c "select($1)"; }

journal_has() { entries "$1" | grep -q .; }

status() { gatehousectl --json status | jq -r "$1"; }
status_is() { same "status $1" "$(status "$1")" "$2"; }
status_says() { has StatusText "$(prop StatusText)" "$1"; }
prop_is() { same "$1" "$(prop "$1" "${3:-gatehoused.service}")" "$2"; }
