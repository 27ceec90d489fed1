// Package config reads the daemon's configuration: strict YAML over defaults,
// every error at once with its file, line and remedy.
//
// Guarantees. Load does no I/O beyond the one file; CheckFiles looks at the
// files that it names. A Config is a value and is never changed after Load.
// Secrets appear only as the names of files (SecretFile): nothing in a Config
// has to be kept from a log, and Redacted still hides where the secrets lie.
// A process whose configuration has a Problem starts nothing and ends with
// ExitCode.
//
// Other rooms report what they find wrong with their own part (a topic map, a
// certificate) as a Problem too; Config.Problem finds the line for them.
package config

import (
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/device/space"
)

// ExitCode is EX_CONFIG of sysexits.h: the supervisor must not restart a
// daemon that ended with it, because only an operator can help.
const ExitCode = 78

// Config is the whole configuration of gatehoused.
type Config struct {
	Instance     Instance     `yaml:"instance"`
	Listeners    []Listener   `yaml:"listeners"`
	Limits       Limits       `yaml:"limits"`
	Sessions     Sessions     `yaml:"sessions"`
	Identity     Identity     `yaml:"identity"`
	Cloud        Cloud        `yaml:"cloud"`
	Access       Access       `yaml:"access"`
	Offline      Offline      `yaml:"offline"`
	State        State        `yaml:"state"`
	Outbox       Outbox       `yaml:"outbox"`
	Upstream     Upstream     `yaml:"upstream"`
	DeviceUpdate DeviceUpdate `yaml:"deviceUpdate"`
	API          API          `yaml:"api"`
	Admin        Admin        `yaml:"admin"`
	Audit        Audit        `yaml:"audit"`
	Log          Log          `yaml:"log"`

	src *Source
}

// Instance says which building this gateway guards and as part of what.
type Instance struct {
	// Tenant is the home tenant: a synced assignment without tenantId means it.
	Tenant space.ID `yaml:"tenant"`
	// Site is the space path that this gateway holds, with everything below.
	Site         space.Path     `yaml:"site"`
	Hub          Hub            `yaml:"hub"`
	DeviceUpdate UpdateInstance `yaml:"deviceUpdate"`
}

// Hub names the IoT Hub: Host is what SAS tokens and topics say, ARMScope
// where its role assignments are.
type Hub struct {
	Host     string `yaml:"host"`
	ARMScope string `yaml:"armScope"`
}

// UpdateInstance names the Device Update instance and the service principal
// that writes desired properties for it. There is no default principal: unset
// means that every deployment from upstream is refused (docs/spec/semantics.md 5.1).
type UpdateInstance struct {
	ARMScope  string    `yaml:"armScope"`
	Principal Principal `yaml:"principal"`
}

// Name is the instance's own name, the last part of its ARM id; "" when the id
// is not that of an instance.
func (u UpdateInstance) Name() string {
	parts := strings.Split(u.ARMScope, "/")
	if n := len(parts); n >= 5 && strings.EqualFold(parts[n-2], "instances") && strings.EqualFold(parts[n-4], "accounts") {
		return parts[n-1]
	}
	return ""
}

// API is the listener for REST, for the Device Update actions; without an
// address there is none.
type API struct {
	Address string `yaml:"address"`
	TLS     *TLS   `yaml:"tls,omitempty"`
}

// Principal is a service principal by object id and tenant.
type Principal struct {
	ObjectID space.ID `yaml:"objectId"`
	TenantID space.ID `yaml:"tenantId"`
}

// Access is how requests are judged.
type Access struct {
	DeviceSelfGrant bool `yaml:"device_self_grant"`
	// Map is the operator's topic map; empty: the built-in rows only.
	Map          File `yaml:"map"`
	ActsForDepth int  `yaml:"acts_for_depth"`
}

// Offline holds the ages at which the stages begin (docs/spec/semantics.md 4.6).
type Offline struct {
	Stale           time.Duration `yaml:"stale"`
	Restricted      time.Duration `yaml:"restricted"`
	Expired         time.Duration `yaml:"expired"`
	KeepAfterExpiry bool          `yaml:"keepAfterExpiry"`
}

// State is where the stores live. MinFree is the free space below which
// messages are refused before the store is touched.
type State struct {
	Dir     File `yaml:"dir"`
	MinFree Size `yaml:"minFree"`
}

// Admin is the operator's door. Socket is a unix socket; Address a loopback
// address for the status page, /metrics and /healthz, "" for none.
type Admin struct {
	Socket  File   `yaml:"socket"`
	Address string `yaml:"address"`
	// Operators are the uids that may also change things; root and the
	// daemon's own user always may. Others who can open the socket may read.
	Operators []int `yaml:"operators"`
}

// Audit says where decisions are kept. File is optional: the log always has
// them. RatePerPrincipal is records a second; what is above is counted.
type Audit struct {
	File             File    `yaml:"file"`
	MaxSize          Size    `yaml:"maxSize"`
	Keep             int     `yaml:"keep"`
	RatePerPrincipal float64 `yaml:"ratePerPrincipal"`
	Ring             int     `yaml:"ring"`
}

// Log is the daemon's own log.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}
