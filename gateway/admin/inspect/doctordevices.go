package inspect

import (
	"fmt"
	"slices"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
)

// hopeless is why a device can never connect, with what helps. Devices with the same reason are told together.
type hopeless struct{ why, next string }

// maxDecided is for how many devices the right to connect is decided: the answer must not take seconds.
const maxDecided = 5000

// deviceFindings names the devices that can never connect, whatever they do, and why.
func (n *Inspector) deviceFindings(d *findings) {
	topo := n.o.Policy.Registry()
	if topo == nil {
		return
	}
	var reasons []hopeless // in the order of their first device
	devices := map[hopeless][]warnings.Name{}
	look := judge{
		cfg:         n.o.Config(),
		topo:        topo,
		authorities: x509.NewAuthorities(topo.CAs()),
	}
	all := 0
	for dev := range topo.Devices() {
		all++
		why := look.device(dev)
		if why == (hopeless{}) && all <= maxDecided && dev.Auth.Kind != device.AuthNone {
			why = n.denied("device:" + dev.HubID)
		}
		if why == (hopeless{}) {
			continue
		}
		if _, known := devices[why]; !known {
			reasons = append(reasons, why)
		}
		devices[why] = append(devices[why], warnings.Name(dev.HubID))
	}
	for _, why := range reasons {
		state := warn
		if why == isDisabled {
			state = notice // somebody wanted it so
		}
		slices.Sort(devices[why])
		d.add("devices-never-connect", state, health.Listed("devices can never connect, because "+why.why, devices[why]), why.next)
	}
	if len(reasons) == 0 {
		d.add("devices", ok, fmt.Sprintf("each of %d devices has a credential by which it can connect", all), "")
	}
}

// denied is why a device whose credential is good may not connect.
func (n *Inspector) denied(key string) hopeless {
	p, err := n.o.Access.Imagine(key)
	if err != nil {
		return hopeless{} // not known by its key: the record is among the topology's problems
	}
	x, err := n.o.Access.Explain(p, "connect", "")
	if err != nil || x.Allowed {
		return hopeless{}
	}
	return hopeless{
		why:  "they are denied: " + x.Reason,
		next: "gatehousectl explain DEVICE connect says what would allow it",
	}
}

// The reasons that lie in a record itself.
var (
	isDisabled = hopeless{"their record is disabled", "enable them in the cloud, if that is not meant"}
	noMethod   = hopeless{"their record names no way to prove themselves", "give them a key or a certificate in the cloud"}
	noKey      = hopeless{"the cloud gave this gateway none of their keys",
		"give the gateway's own principal Token Administrator at its site, then gatehousectl sync --full"}
	noPrint = hopeless{"their record names no thumbprint", "register the SHA-256 thumbprint of their certificate"}
	onlySHA = hopeless{"only a SHA-1 thumbprint is registered, and identity.x509.allowSHA1 is off",
		"register the SHA-256 thumbprint of their certificate"}
	noAuthority = hopeless{"no certificate authority that is used vouches for their space",
		"register their authority at their space or above it (doctor and health name authorities that are not used)"}
	noTLS = hopeless{"they prove themselves by a certificate, and no listener has TLS", "give a listener tls: with cert and key"}
)

// judge looks at records only.
type judge struct {
	cfg         *config.Config
	topo        *device.Topology
	authorities *x509.Authorities
}

func (j *judge) device(d *device.Device) hopeless {
	switch {
	case d.Status != device.Active:
		return isDisabled
	case d.Auth.Kind == device.AuthNone:
		if _, spokenFor := j.topo.GatewayOf(d); spokenFor || len(d.Modules) > 0 {
			return hopeless{} // another device speaks for it, or its modules do for themselves
		}
		return noMethod
	case d.Auth.Kind == device.AuthSAS && len(d.Auth.Primary) == 0 && len(d.Auth.Secondary) == 0:
		return noKey
	case d.Auth.Kind == device.AuthSAS:
		return hopeless{}
	case d.Auth.Kind == device.AuthSelfSigned && len(d.Auth.Thumbprints)+len(d.Auth.ThumbprintsSHA1) == 0:
		return noPrint
	case d.Auth.Kind == device.AuthSelfSigned && len(d.Auth.Thumbprints) == 0 && !j.cfg.Identity.X509.AllowSHA1:
		return onlySHA
	case d.Auth.Kind == device.AuthCA && !j.authorities.Cover(j.topo.DevicePath(d)):
		return noAuthority
	case !slices.ContainsFunc(j.cfg.Listeners, func(l config.Listener) bool { return l.TLS != nil }):
		return noTLS
	}
	return hopeless{}
}
