package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

var listenerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func (v *validator) listeners() {
	if len(v.c.Listeners) == 0 {
		v.bad("listeners", "is missing: no device could connect",
			"add one, such as {name: mqtts, address: \"0.0.0.0:8883\", tls: {cert: …, key: …}}")
	}
	names, addresses := map[string]int{}, map[string]int{}
	for i := range v.c.Listeners {
		l, at := &v.c.Listeners[i], fmt.Sprintf("listeners[%d]", i)
		if !listenerName.MatchString(l.Name) {
			v.bad(at+".name", fmt.Sprintf("%q is no listener name", clip(l.Name)), "write 1 to 32 of a-z, 0-9 and -, such as mqtts")
		} else if j, dup := names[l.Name]; dup {
			v.bad(at+".name", fmt.Sprintf("is the name of listener %d, too", j+1), "give each listener its own name")
		}
		names[l.Name] = i
		if j, dup := addresses[l.Address]; dup && l.Address != "" && !strings.HasSuffix(l.Address, ":0") {
			v.bad(at+".address", fmt.Sprintf("is the address of listener %d, too", j+1), "give each listener its own port")
		}
		addresses[l.Address] = i
		v.listener(l, at)
		v.ownLimits(l.Limits, at+".limits")
	}
	v.sharedLimits(v.c.Limits)
	v.connectPackets()
}

func (v *validator) listener(l *Listener, at string) {
	switch l.Kind {
	case KindUnix:
		v.unixListener(l, at)
	case KindMQTT, KindWebSocket:
		v.networkListener(l, at)
	default:
		return
	}
	if l.Kind != KindWebSocket && (l.Path != "" || len(l.Origins) > 0) {
		v.bad(at, "has path or origins, which only a websocket listener uses", "remove them, or write kind: websocket")
	}
	if l.Kind == KindWebSocket && l.Path != "" && !strings.HasPrefix(l.Path, "/") {
		v.bad(at+".path", "must begin with /", "write /mqtt")
	}
	if l.Kind != KindUnix && len(l.Peers) > 0 {
		v.bad(at+".peers", "maps user ids, which only a unix socket knows", "remove it, or write kind: unix")
	}
}

func (v *validator) unixListener(l *Listener, at string) {
	if !filepath.IsAbs(l.Address) {
		v.bad(at+".address", "must be the absolute path of a unix socket", "write /run/gatehouse/mqtt.sock")
	}
	if l.TLS != nil {
		v.bad(at+".tls", "has no meaning on a unix socket", "remove it; the peer is known by its user id")
	}
	if len(l.Peers) == 0 {
		v.bad(at+".peers", "is missing: nobody could connect", "map user ids to principals: [{uid: 1000, principal: \"local:commissioning\"}]")
	}
	for j, p := range l.Peers {
		if p.UID < 0 || p.Principal == "" {
			v.bad(fmt.Sprintf("%s.peers[%d]", at, j), "needs a uid and a principal", "write {uid: 1000, principal: \"local:NAME\"}")
		}
	}
}

func (v *validator) networkListener(l *Listener, at string) {
	if l.Address == "" {
		v.bad(at+".address", "is missing", "write HOST:PORT, such as 0.0.0.0:8883")
		return
	}
	host, ok := v.hostPort(at+".address", l.Address)
	switch {
	case l.TLS != nil:
		if l.TLS.Cert == "" {
			v.bad(at+".tls.cert", "is missing", "name the PEM file with the certificate chain")
		}
		if l.TLS.Key == "" {
			v.bad(at+".tls.key", "is missing", "name the PEM file with the private key, or ${CREDENTIALS_DIRECTORY}/NAME")
		}
	case ok && !l.Plaintext && !isLoopbackHost(host):
		v.bad(at+".tls", "is missing: keys and telemetry would cross the network readable",
			"add tls: {cert: …, key: …}, or write plaintext: on if the network is protected otherwise")
	}
}

// ownLimits checks what a listener names itself; what it inherits is reported
// where it stands.
func (v *validator) ownLimits(l ListenerLimits, at string) {
	n := len(v.problems)
	v.listenerLimits(l, at)
	own := slices.DeleteFunc(v.problems[n:], func(p Problem) bool { return !v.c.src.Has(p.Field) })
	v.problems = v.problems[:n+len(own)]
}

// connectPackets compares what each listener takes from strangers with what it
// takes from clients. A shared maxConnectPacket that no listener uses may be anything.
func (v *validator) connectPackets() {
	wrong := map[string]bool{}
	for i := range v.c.Listeners {
		field := fmt.Sprintf("listeners[%d].limits.maxConnectPacket", i)
		if !v.c.src.Has(field) {
			field = "limits.maxConnectPacket"
		}
		if v.c.Listeners[i].Limits.MaxConnectPacket > v.c.Limits.MaxPacket && !wrong[field] {
			wrong[field] = true
			v.bad(field, "is larger than limits.maxPacket", "strangers get the smaller limit: write at most the value of limits.maxPacket")
		}
	}
}

func (v *validator) listenerLimits(l ListenerLimits, at string) {
	v.atLeast(at+".handshakeTimeout", l.HandshakeTimeout.Seconds(), 0.1, "seconds")
	v.atLeast(at+".connectTimeout", l.ConnectTimeout.Seconds(), 0.1, "seconds")
	v.atLeast(at+".maxUnauthenticated", float64(l.MaxUnauthenticated), 1, "")
	v.atLeast(at+".maxConnections", float64(l.MaxConnections), 1, "")
	v.atLeast(at+".maxPerAddress", float64(l.MaxPerAddress), 1, "")
	v.atLeast(at+".ratePerAddress", l.RatePerAddress, 0.1, "connections a second")
	v.atLeast(at+".maxConnectPacket", float64(l.MaxConnectPacket), 256, "bytes")
}

func (v *validator) sharedLimits(l Limits) {
	const at = "limits"
	v.listenerLimits(l.ListenerLimits, at)
	v.atLeast(at+".maxPacket", float64(l.MaxPacket), 512, "bytes")
	if l.MaxPacket > 16*MiB {
		v.bad(at+".maxPacket", "is larger than a message may be here", "write at most 16 MiB; IoT Hub takes 256 KiB")
	}
	v.atLeast(at+".receiveMaximum", float64(l.ReceiveMaximum), 1, "")
	v.atMost(at+".receiveMaximum", l.ReceiveMaximum, 65535)
	v.atLeast(at+".topicAliasMaximum", float64(l.TopicAliasMaximum), 0, "")
	v.atMost(at+".topicAliasMaximum", l.TopicAliasMaximum, 65535)
	v.atLeast(at+".maxTopicLength", float64(l.MaxTopicLength), 64, "bytes")
	v.atMost(at+".maxTopicLength", l.MaxTopicLength, 65535)
	v.atLeast(at+".maxTopicLevels", float64(l.MaxTopicLevels), 8, "levels")
	v.atMost(at+".maxTopicLevels", l.MaxTopicLevels, 256)
	v.atLeast(at+".maxFilters", float64(l.MaxFilters), 1, "")
	v.atLeast(at+".writeBuffer", float64(l.WriteBuffer), 4096, "bytes")
	if l.MaxKeepAlive > 65535*time.Second {
		v.bad(at+".maxKeepAlive", "is longer than MQTT can say", "write at most 65535s, or leave it out for no cap")
	}
}
