# The second boot: what is enabled comes up by itself, and the package is
# upgraded, installed again, removed and purged under a running gateway.

comes_up() {
	within 20 prop_is ActiveState active
	prop_is ActiveState active gatehoused.socket
	prop_is NRestarts 0
	within 20 cloud /healthz >/dev/null
	same policy "$(status .cache.version)" "$(cat /probe/policy)"
	within 40 arrived plug-1 plug-2
	within 10 status_is .health.state ok
	echo "enabled units run, policy $(cat /probe/policy), both stored messages are at the hub"
}

no_failed_units() {
	same "failed units" "$(systemctl list-units --failed --plain --no-legend 'gatehouse*' 'management*' | wc -l)" 0
	same "lines of systemd about the units" "$(journalctl -q -b _PID=1 -p warning -o cat | grep -iE 'gatehouse|management|sysusers|tmpfiles' || true)" ""
	echo "none, and no warning of systemd about ours"
}

# installed PACKAGE VERSION: again over the running one
installed() {
	local before sum owner policy
	before=$(pid)
	sum=$(sha256sum /etc/gatehouse/*.yaml)
	owner=$(stat -c '%a %U:%G' /etc/gatehouse/*.yaml)
	policy=$(status .cache.version)
	DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i "$1" </dev/null
	within 20 prop_is ActiveState active
	same configuration "$(sha256sum /etc/gatehouse/*.yaml)" "$sum"
	same "its modes" "$(stat -c '%a %U:%G' /etc/gatehouse/*.yaml)" "$owner"
	fails same pid "$(pid)" "$before" >/dev/null
	same policy "$(status .cache.version)" "$policy"
	test -s /etc/gatehouse/credentials/server.key
	telemetry "after-$2"
	within 40 arrived "after-$2"
	echo "$(dpkg-query -W -f '${Version}' gatehouse): configuration, keys and state kept, restarted, serves"
}

removed() {
	DEBIAN_FRONTEND=noninteractive dpkg --remove gatehouse
	local unit
	for unit in gatehoused.service gatehoused.socket managementd.service; do
		fails systemctl is-active -q $unit
		same "$unit" "$(prop LoadState $unit)" not-found
	done
	test -d /var/lib/gatehouse/messages
	test -f /etc/gatehouse/gatehoused.yaml
	fails pgrep -x 'gatehoused|managementd'
	same "links to units" "$(find /etc/systemd/system -name 'gatehoused*' -o -name 'managementd*' | wc -l)" 0
	echo "stopped and disabled; configuration, keys and messages are still there"
}

purged() {
	DEBIAN_FRONTEND=noninteractive dpkg --purge gatehouse
	fails test -e /var/lib/gatehouse
	fails test -e /var/lib/gatehouse-management
	fails test -e /etc/gatehouse/gatehoused.yaml
	test -s /etc/gatehouse/credentials/server.key
	getent passwd gatehouse >/dev/null
	echo "state and configuration gone; the operator's keys and the users stay"
}

topic "After the plug"
check "the next boot" comes_up
check "failed units, warnings" no_failed_units
topic "Life of the package"
check "upgrade, with other defaults in the new one" installed /probe/later.deb upgrade
check "installed again" installed /probe/later.deb again
check "dpkg --remove" removed
check "dpkg --purge" purged
