# The first boot: the package arrives on a running system, is set up, serves,
# and is treated badly.

# ---- the package

installs() {
	DEBIAN_FRONTEND=noninteractive dpkg -i /probe/gatehouse.deb
	getent passwd gatehouse gatehouse-management >/dev/null
	local unit
	for unit in gatehoused.service gatehoused.socket managementd.service; do
		same "$unit is-enabled" "$(systemctl is-enabled $unit)" disabled
		same "$unit is-active" "$(systemctl is-active $unit)" inactive
	done
	echo "$(dpkg-query -W -f '${Version}' gatehouse); users made, nothing enabled, nothing started"
}

# refused PART: the configuration is, with 78, and nobody tries again
refused() {
	trap '{ systemctl stop gatehoused; systemctl reset-failed gatehoused; } >/dev/null 2>&1' EXIT
	systemctl reset-failed gatehoused 2>/dev/null || true
	fails systemctl start gatehoused
	sleep 12 # longer than RestartSec
	prop_is ActiveState failed
	prop_is ExecMainStatus 78
	prop_is NRestarts 0
	local said
	said=$(journalctl -q -u gatehoused -o cat -n 20 | grep -F "$1" | tail -n 1)
	has "the journal" "$said" "$1"
	echo "78, 0 restarts: line ${said#*.yaml:}"
}

# awaits: without its certificate the listener waits, it is named, and the rest runs
awaits() {
	trap 'systemctl stop gatehoused >/dev/null 2>&1' EXIT
	systemctl start gatehoused
	prop_is ActiveState active
	local said
	said=$(gatehousectl health || true)
	has health "$said" listener-mqtts-certificate
	has health "$said" /etc/gatehouse/tls/server.crt
	fails bash -c ': </dev/tcp/127.0.0.1/8883' 2>/dev/null
	same NRestarts "$(prop NRestarts)" 0
	echo "active, 8883 closed, health names listener-mqtts-certificate"
}

misspelt() {
	cp /etc/gatehouse/gatehoused.yaml /srv/good.yaml
	sed -i 's/^upstream:/upstraem:/' /etc/gatehouse/gatehoused.yaml
	refused upstraem
}

# As docs/operating.md has operators check before they restart.
checked() {
	systemd-run -qP --wait -p User=gatehouse -p LoadCredential=secret:/etc/gatehouse/credentials /usr/bin/gatehoused -check
}

# ---- managementd

cloud_serves() {
	certificates
	cloud_configuration
	gateway_configuration
	systemctl start managementd
	within 20 cloud /healthz
	echo "policy $(cloud /healthz)"
}

cloud_is_confined() {
	local p
	p=$(pid managementd.service)
	same user "$(stat -c %U "/proc/$p")" gatehouse-management
	same Seccomp "$(awk '/^Seccomp:/{print $2}' "/proc/$p/status")" 2
	same CapBnd "$(awk '/^CapBnd:/{print $2}' "/proc/$p/status")" 0000000000000000
	same "credentials" "$(ls /run/credentials/managementd.service | xargs)" "secret_devices.yaml secret_management.key"
	same "state" "$(stat -c '%a %U' /var/lib/gatehouse-management)" "700 gatehouse-management"
	echo "own user, CapBnd 0, Seccomp 2, sees only its own two credentials"
}

# ---- start

socket_starts_it() {
	systemctl start gatehoused.socket
	prop_is ActiveState inactive
	served_is /etc/gatehouse/tls/server.crt # the first connection waits until the daemon accepts
	prop_is ActiveState active
	echo "inactive until the first connection; that one got its handshake"
}

socket_is_systemds() {
	local inode # of 0.0.0.0:8883, listening
	inode=$(awk '$2 ~ /:22B3$/ && $4 == "0A" {print $10}' /proc/net/tcp /proc/net/tcp6)
	same "listening sockets" "$(wc -w <<<"$inode")" 1
	has "PID 1" "$(readlink /proc/1/fd/* | xargs)" "socket:[$inode]"
	has gatehoused "$(readlink "/proc/$(pid)"/fd/* | xargs)" "socket:[$inode]"
	echo "one listening socket, inode $inode, open in PID 1 and in gatehoused"
}

ready() {
	prop_is Type notify
	prop_is NotifyAccess main
	local from to said
	said=$(journalctl -q -u gatehoused -o cat --grep 'gatehoused serves' | tail -n 1)
	has journal "$said" "gatehoused serves"
	status_says "; "
	from=$(prop ExecMainStartTimestampMonotonic)
	to=$(prop ActiveEnterTimestampMonotonic)
	[ "$to" -gt "$from" ]
	echo "READY=1 after $(((to - from) / 1000)) ms; \"$(prop StatusText)\""
}

# ---- confinement

process_is_confined() {
	same user "$(stat -c %U:%G "/proc/$(pid)")" gatehouse:gatehouse
	local cap
	for cap in CapInh CapPrm CapEff CapBnd CapAmb; do same $cap "$(proc $cap)" 0000000000000000; done
	same Seccomp "$(proc Seccomp)" 2
	same NoNewPrivs "$(proc NoNewPrivs)" 1
	same "core limit" "$(awk '/core file/{print $5, $6}' "/proc/$(pid)/limits")" "0 0"
	local most # what this machine lets anybody have
	most=$(awk '/open files/{print $5}' /proc/1/limits)
	same "open files" "$(awk '/open files/{print $4}' "/proc/$(pid)/limits")" $((most < 65536 ? most : 65536))
	# Below 0 needs CAP_SYS_RESOURCE, which not every machine leaves to its containers.
	if (((0x$(awk '/^CapBnd/{print $2}' /proc/1/status) >> 24) & 1)); then same oom_score_adj "$(cat "/proc/$(pid)/oom_score_adj")" -300; fi
	echo "gatehouse:gatehouse, CapBnd 0, Seccomp 2, NoNewPrivs 1, no core, $(proc Seccomp_filters) filters"
}

# inside COMMAND...: in the mounts that the daemon sees
inside() { nsenter -t "$(pid)" -m -- "$@"; }

files_are_confined() {
	local dir
	for dir in / /etc /usr /etc/gatehouse /var/log /run /home; do fails inside touch $dir/x 2>/dev/null; done
	inside touch /var/lib/gatehouse/x /run/gatehouse/x
	inside rm /var/lib/gatehouse/x /run/gatehouse/x
	touch /tmp/x-outside /root/x-outside
	fails inside test -e /tmp/x-outside
	fails inside test -e /root/x-outside
	has "/proc" "$(inside cat /proc/self/mountinfo | awk '$5 == "/proc"')" hidepid=invisible
	same "/dev" "$(inside find /dev -type b | wc -l)" 0
	echo "writes only state and runtime directory; no /tmp, /root, block devices, other processes"
}

modes() {
	same state "$(stat -c '%a %U:%G' /var/lib/gatehouse)" "700 gatehouse:gatehouse"
	same "files in it for others" "$(find /var/lib/gatehouse -perm /077 | wc -l)" 0
	same runtime "$(stat -c '%a %U:%G' /run/gatehouse)" "750 gatehouse:gatehouse"
	same "admin socket" "$(stat -c '%F %a %U:%G' /run/gatehouse/admin.sock)" "socket 660 gatehouse:gatehouse"
	same configuration "$(stat -c '%a %U:%G' /etc/gatehouse/gatehoused.yaml)" "640 root:gatehouse"
	same credentials "$(stat -c '%a %U' /etc/gatehouse/credentials)" "700 root"
	same "own copies" "$(ls /run/credentials/gatehoused.service | xargs)" "secret_cloud-secret secret_gateway-1.key secret_server.key"
	echo "state 0700, /run/gatehouse 0750, admin.sock 0660, configuration 0640, its own 3 credentials"
}

who_may_ask() {
	useradd -G gatehouse olga
	useradd stranger
	status .site >/dev/null
	gatehousectl sync >/dev/null
	runuser -u olga -- gatehousectl status >/dev/null
	fails runuser -u olga -- gatehousectl sync 2>/dev/null
	fails runuser -u stranger -- gatehousectl status 2>/dev/null
	echo "root reads and changes; the group gatehouse reads; others cannot open the socket"
}

exposure() {
	local line score
	line=$(systemd-analyze security --no-pager "$1" | tail -n 1)
	score=$(grep -oE '[0-9]+\.[0-9]+' <<<"$line")
	[ "${score/./}" -le 14 ] || { echo "$line"; return 1; }
	echo "${line#*for }"
}

# ---- work

synced() {
	within 20 status_is .sync.state connected
	within 20 status_is .upstream.state connected
	within 10 status_is .health.state ok
	gatehousectl health >/dev/null
	echo "$(status '"policy \(.cache.version), \(.cache.assignments) assignments, \(.cache.devices) devices; health \(.health.state)"')"
}

explains() {
	gatehousectl explain lobby-thermostat publish devices/lobby-thermostat/messages/events/ >/dev/null
	local code=0 said
	said=$(gatehousectl explain lobby-display connect) || code=$?
	same "code for a denied question" $code 3
	echo "allowed: code 0; ${said%%$'\n'*}: code 3"
}

decides() {
	telemetry measured-1
	fails device lobby-display -t devices/lobby-display/messages/events/ -m no 2>/dev/null
	fails device lobby-thermostat -t devices/lobby-display/messages/events/ -m no 2>/dev/null
	within 10 arrived measured-1
	echo "acknowledged and at the hub; without assignment, and for another device: refused"
}

journal() {
	local e
	within 5 journal_has '.EVENT=="connect" and .REASON=="no-assignment"'
	e=$(entries '.EVENT=="connect" and .REASON=="no-assignment"' | tail -n 1)
	same CLIENT_ID "$(jq -r .CLIENT_ID <<<"$e")" lobby-display
	same ALLOWED "$(jq -r .ALLOWED <<<"$e")" false
	same PRIORITY "$(jq -r .PRIORITY <<<"$e")" 4
	same SYSLOG_IDENTIFIER "$(jq -r .SYSLOG_IDENTIFIER <<<"$e")" gatehoused
	same _TRANSPORT "$(jq -r ._TRANSPORT <<<"$e")" journal
	has VERSION "$(jq -r .VERSION <<<"$e")" .
	same "by field" "$(journalctl -q -u gatehoused EVENT=publish ALLOWED=false -o cat | wc -l)" 1
	jq -r '"EVENT=\(.EVENT) REASON=\(.REASON) CLIENT_ID=\(.CLIENT_ID) PRINCIPAL=\(.PRINCIPAL) PRIORITY=\(.PRIORITY)"' <<<"$e"
}

# ---- reload

reloads() {
	local before old
	before=$(pid)
	old=$(served)
	server_certificate /etc/gatehouse/credentials/server.key /etc/gatehouse/tls/server.crt
	echo 'log: {level: debug}' >>/etc/gatehouse/gatehoused.yaml
	systemctl reload gatehoused
	within 5 served_is /etc/gatehouse/tls/server.crt
	fails same "certificate" "$(served)" "$old" >/dev/null
	within 5 journal_has '.EVENT=="reload" and .REASON=="reloaded"'
	same "process" "$(pid)" "$before"
	prop_is ActiveState active
	echo "renewed certificate served, same process"
}

warned() { [ "$(status '[.health.warnings[] | select(.name == "reload")] | length')" = "$1" ]; }

bad_reload() {
	cp /etc/gatehouse/gatehoused.yaml /srv/good.yaml
	sed -i 's/^upstream:/upstraem:/' /etc/gatehouse/gatehoused.yaml
	systemctl reload gatehoused
	within 5 warned 1
	has health "$(gatehousectl health || true)" upstraem
	telemetry measured-2
	cp /srv/good.yaml /etc/gatehouse/gatehoused.yaml
	systemctl reload gatehoused
	within 5 warned 0
	within 5 status_is .health.state ok
	echo "named in health, nothing taken over, goes on serving; the corrected one clears it"
}

# ---- ends

# restarted PID-BEFORE RESTARTS
restarted() {
	prop_is NRestarts "$2" && prop_is ActiveState active && fails same pid "$(pid)" "$1"
}

hangs() {
	mkdir -p /run/systemd/system/gatehoused.service.d
	printf '[Service]\nWatchdogSec=9s\n' >/run/systemd/system/gatehoused.service.d/watchdog.conf
	systemctl daemon-reload
	systemctl restart gatehoused
	local before from
	before=$(pid)
	from=$(now_ms)
	sleep 10 # longer than the watchdog: a healthy one lives
	same "process" "$(pid)" "$before"
	from=$(now_ms)
	kill -STOP "$before"
	within 40 restarted "$before" 1
	local took from log
	took=$(($(now_ms) - from))
	log=$(journalctl -q -b _PID=1 + _PID="$before" -o cat)
	has "journal" "$log" "Watchdog timeout (limit 9s)"
	has "journal" "$log" "with signal SIGABRT"
	has "journal" "$log" "SIGABRT: abort"
	local stacks
	stacks=$(grep -c '^goroutine [0-9]* ' <<<"$log")
	[ "$stacks" -gt 5 ]
	rm /run/systemd/system/gatehoused.service.d/watchdog.conf
	systemctl daemon-reload
	echo "SIGABRT at the watchdog of 9 s, $stacks stacks in the journal, NRestarts=1, serving again after $took ms"
}

stored_without_cloud() {
	systemctl stop managementd
	same "end of managementd" "$(prop Result managementd.service)" success
	local i
	for i in 1 2 3; do telemetry "stored-$i"; done
	within 5 status_is .outbox.messages 3
	echo "3 acknowledged and stored; managementd's own end was clean"
}

killed() {
	local before policy from n
	before=$(pid)
	policy=$(status .cache.version)
	from=$(now_ms)
	n=$(prop NRestarts)
	kill -KILL "$before"
	within 25 restarted "$before" $((n + 1))
	local took from
	took=$(($(now_ms) - from))
	same outbox "$(status .outbox.messages)" 3
	same policy "$(status .cache.version)" "$policy"
	telemetry stored-4
	fails device lobby-display -t devices/lobby-display/messages/events/ -m no 2>/dev/null
	echo "serving again after $took ms; outbox 3, policy $policy; decides from its cache"
}

stops() {
	local policy from took
	policy=$(status .cache.version)
	from=$(now_ms)
	systemctl stop gatehoused.socket gatehoused.service
	took=$(($(now_ms) - from))
	prop_is Result success
	prop_is ExecMainStatus 0
	[ $took -lt 10000 ] || { echo "took $took ms"; return 1; }
	fails test -e /run/gatehouse
	systemctl start gatehoused.socket gatehoused.service
	same outbox "$(status .outbox.messages)" 4
	same policy "$(status .cache.version)" "$policy"
	echo "$took ms, code 0; afterwards outbox 4, policy $policy"
}

nobody_is_refused() {
	local i
	for i in 1 2 3; do
		systemctl restart --no-block gatehoused
		telemetry "meanwhile-$i"
	done
	within 20 prop_is ActiveState active
	echo "3 restarts, each with a device that came meanwhile: all acknowledged"
}

drains() {
	systemctl start managementd
	within 60 arrived stored-1 stored-2 stored-3 stored-4 meanwhile-1 meanwhile-2 meanwhile-3
	within 10 status_is .outbox.messages 0
	echo "all 7 that were acknowledged are at the hub, the outbox is empty"
}

unplugged() {
	systemctl -q enable gatehoused.service gatehoused.socket managementd.service
	systemctl stop managementd
	telemetry plug-1
	telemetry plug-2
	status .cache.version >/probe/policy
	echo "2 more stored, units enabled; the machine ends without stopping anything"
}

topic "The package"
check "dpkg installs it on a running system" installs
check "no certificate yet: it runs, and the listener waits" awaits
topic "The development cloud"
check "managementd serves" cloud_serves
check "managementd is confined" cloud_is_confined
topic "Start"
check "a misspelt configuration: code 78, no restart" misspelt
cp /srv/good.yaml /etc/gatehouse/gatehoused.yaml
check "gatehoused -check with the unit's credentials" checked
check "gatehoused.socket starts gatehoused" socket_starts_it
check "the listener is systemd's" socket_is_systemds
check "Type=notify" ready
topic "Confinement"
check "process" process_is_confined
check "files" files_are_confined
check "modes and owners" modes
check "who may use the admin socket" who_may_ask
check "systemd-analyze security gatehoused" exposure gatehoused.service
check "systemd-analyze security managementd" exposure managementd.service
topic "Work"
check "synchronised, healthy" synced
check "gatehousectl explain" explains
check "mosquitto_pub with certificates" decides
check "journal fields" journal
topic "Reload"
check "systemctl reload" reloads
check "systemctl reload of a broken configuration" bad_reload
topic "Ends"
check "a daemon that hangs (SIGSTOP)" hangs
check "the cloud goes" stored_without_cloud
check "kill -9" killed
check "SIGTERM" stops
check "devices that come while it restarts" nobody_is_refused
check "the cloud comes back" drains
check "the plug" unplugged
