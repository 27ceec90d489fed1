package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/topic"
)

func (v *validator) cloud() {
	m := v.c.Cloud.Management
	if m.URL == "" {
		if m.Credential.Kind != "" {
			v.bad("cloud.management.url", "is missing although a credential is given",
				"write the base address, such as https://instance.westeurope.azuresmartspaces.net/management/api/v1.0")
		}
	} else {
		v.secureURL("cloud.management.url", m.URL)
		v.credential(m.Credential)
	}
	p := v.c.Cloud.Poll
	v.atLeast("cloud.poll.wait", p.Wait.Seconds(), 1, "second (1s)")
	if p.Wait > 5*time.Minute {
		v.bad("cloud.poll.wait", "is longer than proxies keep a silent request open", "write at most 5m")
	}
	v.atLeast("cloud.poll.full", p.Full.Seconds(), 10, "seconds")
}

func (v *validator) limits() {
	o := v.c.Offline
	v.atLeast("offline.stale", o.Stale.Seconds(), 10, "seconds")
	if o.Restricted <= o.Stale {
		v.bad("offline.restricted", "must be later than offline.stale", "the stages are fresh, stale (1h), restricted (72h), expired (30d)")
	}
	if o.Expired <= o.Restricted {
		v.bad("offline.expired", "must be later than offline.restricted", "the stages are fresh, stale (1h), restricted (72h), expired (30d)")
	}
	if d := v.c.Access.ActsForDepth; d < 1 || d > 5 {
		v.bad("access.acts_for_depth", "must be between 1 and 5",
			"1 means that a gateway speaks for the devices that name it, and for nothing further down")
	}
	v.atLeast("state.minFree", float64(v.c.State.MinFree), float64(16*MiB), "bytes (16 MiB): the store does not survive a full disk")
	s := v.c.Sessions
	v.atLeast("sessions.queueMessages", float64(s.QueueMessages), 1, "")
	if n := v.c.Limits.ReceiveMaximum; s.QueueMessages >= 1 && s.QueueMessages < n {
		v.bad("sessions.queueMessages", "is smaller than limits.receiveMaximum",
			"write at least that: one publisher sends as many at once, which would overflow the queue of a receiver that is away")
	}
	v.atLeast("sessions.queueBytes", float64(s.QueueBytes), 4096, "bytes")
	if s.TotalBytes < s.QueueBytes {
		v.bad("sessions.totalBytes", "is smaller than the queue of one session", "write at least sessions.queueBytes")
	}
	v.atLeast("sessions.max", float64(s.Max), 1, "")
	v.atLeast("sessions.perPrincipal", float64(s.PerPrincipal), 1, "")
	if s.PrincipalShare <= 0 || s.PrincipalShare > 1 {
		v.bad("sessions.principalShare", "must be above 0 and at most 1",
			"0.125 means that one principal may hold an eighth of sessions.totalBytes")
	}
	if s.Stall <= 0 || s.Stall > s.SlowLimit {
		v.bad("sessions.stall", "must be above 0 and at most sessions.slowLimit",
			"5s means that one slow receiver may hold its publishers up for five seconds in each slowLimit")
	}
	v.atLeast("sessions.retained", float64(s.Retained), 0, "")
	b := v.c.Outbox
	v.atLeast("outbox.maxBytes", float64(b.MaxBytes), float64(1*MiB), "bytes (1 MiB)")
	v.atLeast("outbox.maxMessages", float64(b.MaxMessages), 1, "")
	if b.PerDeviceBytes > b.MaxBytes {
		v.bad("outbox.perDeviceBytes", "is larger than outbox.maxBytes", "one device must not be able to fill the outbox for all")
	}
	if b.PerDeviceMessages > b.MaxMessages {
		v.bad("outbox.perDeviceMessages", "is larger than outbox.maxMessages", "one device must not be able to fill the outbox for all")
	}
	v.atLeast("outbox.perDeviceBytes", float64(b.PerDeviceBytes), 4096, "bytes")
	v.atLeast("outbox.perDeviceMessages", float64(b.PerDeviceMessages), 1, "")
	if n := v.c.Limits.ReceiveMaximum; b.PerDeviceMessages >= 1 && b.PerDeviceMessages < n {
		v.bad("outbox.perDeviceMessages", "is smaller than limits.receiveMaximum",
			"write at least that: a device fills it before its first message is acknowledged, and is refused")
	}
	v.atLeast("health.upstreamDown", v.c.Health.UpstreamDown.Seconds(), 1, "second (1s)")
	v.atLeast("health.oldestWaiting", v.c.Health.OldestWaiting.Seconds(), 0, "")
	v.atLeast("outbox.refuseAfter", b.RefuseAfter.Seconds(), 1, "second (1s)")
	v.atLeast("outbox.parked.maxMessages", float64(b.Parked.MaxMessages), 1, "")
	v.atLeast("outbox.parked.perDeviceMessages", float64(b.Parked.PerDeviceMessages), 1, "")
	v.atLeast("outbox.parked.maxBytes", float64(b.Parked.MaxBytes), float64(2*MiB),
		"bytes (2 MiB), or the largest message could not be parked")
	v.atLeast("upstream.ackTimeout", v.c.Upstream.AckTimeout.Seconds(), 1, "second (1s)")
	v.atLeast("outbox.replayRate", b.ReplayRate, 0, "")
}

func (v *validator) deviceUpdate() {
	d := v.c.DeviceUpdate
	if d.Records == RecordsRequired {
		v.bad("deviceUpdate.records",
			"is required, and this release has no source of deployment records: every deployment would be held for ever",
			"write off, or remove the line")
	}
	v.atLeast("deviceUpdate.stuckAfter", d.StuckAfter.Minutes(), 1, "minute (1m)")
	for i, h := range d.AllowedHosts {
		name := strings.TrimPrefix(h, "*.")
		if name == "" || strings.ContainsAny(name, "*/:@ ") || !strings.Contains(name, ".") && name != "localhost" {
			v.bad(fmt.Sprintf("deviceUpdate.allowedHosts[%d]", i), fmt.Sprintf("%q is no host pattern", clip(h)),
				"write a host name, or *.domain for every host below a domain")
		}
	}
}

func (v *validator) upstream() {
	u := v.c.Upstream
	if u.As.ObjectID.IsZero() != u.As.TenantID.IsZero() && !v.unread("upstream.as", "objectId", "tenantId") {
		v.bad("upstream.as", "needs both objectId and tenantId",
			"name the service principal whose rights decide what comes from upstream, or remove it")
	}
	switch u.Mode {
	case UpstreamMQTT:
		v.upstreamMQTT(u.MQTT)
	case UpstreamIoTHub:
		v.upstreamHub(u.IoTHub)
	case UpstreamNone:
		if len(u.Routes) > 0 {
			v.bad("upstream.routes", "would send to nowhere: upstream.mode is none", "write upstream.mode: mqtt or iothub, or remove the routes")
		}
	default:
		return
	}
	names := map[string]bool{}
	for i, r := range u.Routes {
		at := fmt.Sprintf("upstream.routes[%d]", i)
		if r.Name == "" || names[r.Name] {
			v.bad(at+".name", "must be given and be its own", "name the route for metrics and logs, such as telemetry")
		}
		names[r.Name] = true
		v.filter(at+".filter", r.Filter)
		if r.Priority < 0 || r.Priority > 9 {
			v.bad(at+".priority", "must be between 0 and 9", "0 is sent last, 9 first")
		}
	}
	if u.Mode == UpstreamMQTT {
		v.topics(u)
	}
}

func (v *validator) upstreamMQTT(m UpstreamMqtt) {
	const at = "upstream.mqtt"
	u, err := url.Parse(m.URL)
	switch {
	case m.URL == "" || err != nil || u.Host == "":
		v.bad(at+".url", "is missing or no URL", "write mqtts://host:8883 or wss://host/path")
	case u.User != nil:
		v.bad(at+".url", "holds a user name or password", "use upstream.mqtt.username and upstream.mqtt.password (a file)")
	case strings.ContainsAny(m.URL, "?#"): // a token in it would be shown in the status, in logs and in errors
		v.bad(at+".url", "holds a query or a fragment",
			"remove it, and use upstream.mqtt.username and upstream.mqtt.password (a file); URLs reach logs")
	case u.Scheme == "mqtts" || u.Scheme == "wss":
	case (u.Scheme == "mqtt" || u.Scheme == "ws") && isLoopbackHost(u.Hostname()):
	case u.Scheme == "mqtt" || u.Scheme == "ws":
		v.bad(at+".url", "would send everything readable over the network", "write mqtts:// or wss://")
	default:
		v.bad(at+".url", fmt.Sprintf("%q is no MQTT scheme", clip(u.Scheme)), "write mqtts://host:8883 or wss://host/path")
	}
	if m.ClientID == "" {
		v.bad(at+".clientId", "is missing", "give this gateway's session upstream a fixed name, or messages are lost on reconnect")
	}
	v.pair(at, "cert", string(m.Cert), "key", string(m.Key))
	if m.Password != "" && m.Username == "" {
		v.bad(at+".username", "is missing although a password is given", "MQTT 3.1.1 has no password without a user name")
	}
	v.window(at, m.Window, m.KeepAlive)
}

func (v *validator) upstreamHub(h UpstreamHub) {
	const at = "upstream.iothub"
	if h.Address != "" {
		v.hostPort(at+".address", h.Address)
	}
	g := h.GatewayDevice
	if g.ID == "" {
		v.bad(at+".gatewayDevice.id", "is missing", "write the device id under which this gateway is registered at the hub")
	} else if strings.ContainsAny(g.ID, "+#/\x00") {
		v.bad(at+".gatewayDevice.id", fmt.Sprintf("%q cannot be a device id", clip(g.ID)), "device ids hold no + # /")
	}
	v.pair(at+".gatewayDevice", "cert", string(g.Cert), "key", string(g.Key))
	switch {
	case v.unread(at+".gatewayDevice", "sasKey", "cert"):
	case g.SASKey == "" && g.Cert == "":
		v.bad(at+".gatewayDevice", "has no credential", "give cert and key, or sasKey")
	case g.SASKey != "" && g.Cert != "":
		v.bad(at+".gatewayDevice.sasKey", "is given besides a certificate", "the hub registers one kind for a device: keep that one")
	}
	v.window(at, h.Window, h.KeepAlive)
}

func (v *validator) pair(at, a, av, b, bv string) {
	if (av == "") == (bv == "") {
		return
	}
	if av == "" {
		a, b = b, a
	}
	v.bad(at+"."+b, fmt.Sprintf("is missing although %s is given", a), "a certificate and its key come together")
}

func (v *validator) window(at string, window int, keepAlive time.Duration) {
	if window < 1 || window > 65535 {
		v.bad(at+".window", "must be between 1 and 65535", "throughput is window / round trip time; 256 suits most links")
	}
	if keepAlive < 5*time.Second || keepAlive > 65535*time.Second {
		v.bad(at+".keepAlive", "must be between 5s and 65535s", "IoT Hub closes after 29 minutes at most")
	}
}

func (v *validator) filter(field, f string) {
	if f == "" {
		v.bad(field, "is missing", "write an MQTT topic filter, such as devices/+/messages/events/#")
		return
	}
	var e *topic.Error
	if errors.As(topic.DefaultLimits().Filter(f), &e) {
		v.bad(field, fmt.Sprintf("%q is no topic filter: %s", clip(f), e.Why), "+ stands for one whole level, # for the rest and only at the end")
	}
}
