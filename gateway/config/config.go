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
// Other packages report what they find wrong with their own part (a topic map, a
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
//
// The comment of a field with a key is the text of its setting in
// docs/reference/configuration.md, in the JSON Schema and in the example
// (cmd/internal/reference makes them): it says what the setting does, without
// the field's name. Tags besides yaml: choices are the values that a text may
// have; unit is what a number counts; required marks what has no default;
// show is what the example file sets, example what it only shows.
type Config struct {
	// Which building this gateway guards, and as part of what.
	Instance Instance `yaml:"instance"`
	// The listeners for clients: at least one.
	Listeners []Listener `yaml:"listeners" required:"yes" show:"item"`
	// Limits that all listeners share. A listener may have its own value of those that can differ.
	Limits Limits `yaml:"limits"`
	// Limits of sessions, their queues, and retained messages.
	Sessions Sessions `yaml:"sessions"`
	// Which credentials of users and services are accepted. Devices are authenticated by their records in the cloud and
	// need nothing here.
	Identity Identity `yaml:"identity"`
	// Where policy and topology come from. Without it the gateway decides by its cache.
	Cloud Cloud `yaml:"cloud"`
	// How requests are judged.
	Access Access `yaml:"access"`
	// What changes while the cloud cannot be reached, by the age of its last answer.
	Offline Offline `yaml:"offline"`
	// Where the stores live.
	State State `yaml:"state"`
	// Limits of the messages that wait to be sent upstream.
	Outbox Outbox `yaml:"outbox"`
	// Where telemetry goes.
	Upstream Upstream `yaml:"upstream"`
	// When health warns.
	Health Health `yaml:"health"`
	// The deployment guard, and where its requests are sent.
	DeviceUpdate DeviceUpdate `yaml:"deviceUpdate"`
	// A listener for Device Update's REST (2022-10-01), the four deployment actions only.
	API API `yaml:"api"`
	// The operator's socket and status page.
	Admin Admin `yaml:"admin"`
	// Where decisions are kept.
	Audit Audit `yaml:"audit"`
	// The daemon's own log.
	Log Log `yaml:"log"`

	src *Source
}

// Instance says which building this gateway guards and as part of what.
type Instance struct {
	// The home tenant of this Digital Twins instance: a synced assignment without a tenant means it.
	Tenant space.ID `yaml:"tenant" required:"yes" show:"7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001"`
	// The space path that this gateway holds, with everything below it: / or /{guid}/{guid}.
	Site space.Path `yaml:"site" required:"yes" show:"/"`
	// The IoT Hub whose name devices use.
	Hub Hub `yaml:"hub"`
	// The Device Update instance.
	DeviceUpdate UpdateInstance `yaml:"deviceUpdate"`
}

// Hub names the IoT Hub.
type Hub struct {
	// The hub's name, which device tokens and user names must contain.
	Host string `yaml:"host" required:"yes" show:"my-hub.azure-devices.net"`
	// The hub's ARM resource id, at which its role assignments are found; empty: none count.
	ARMScope string `yaml:"armScope" example:"/subscriptions/{id}/resourceGroups/{name}/providers/Microsoft.Devices/IotHubs/my-hub"`
}

// UpdateInstance names the Device Update instance and the service principal
// that writes desired properties for it (docs/spec/semantics.md 5.1).
type UpdateInstance struct {
	// The instance's ARM resource id, at which deployments are decided.
	ARMScope string `yaml:"armScope" example:"/subscriptions/…/Microsoft.DeviceUpdate/accounts/{account}/instances/{instance}"`
	// Device Update's service principal (application 6ee392c4-…) in your tenant: it writes the desired
	// properties of a deployment. Unset: every deployment from upstream is refused.
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

// API is the listener for REST, for the Device Update actions.
type API struct {
	// HOST:PORT; empty: no such listener.
	Address string `yaml:"address" example:"0.0.0.0:8444"`
	// Its certificate; needed with an address. clientCA is not used: callers prove themselves with tokens.
	TLS *TLS `yaml:"tls,omitempty"`
}

// Principal is a service principal by object id and tenant.
type Principal struct {
	// The object id of the service principal in the tenant, not its application id.
	ObjectID space.ID `yaml:"objectId"`
	// The tenant.
	TenantID space.ID `yaml:"tenantId"`
}

// Access is how requests are judged.
type Access struct {
	// On: an active device may read itself and send telemetry without a role assignment.
	DeviceSelfGrant bool `yaml:"device_self_grant"`
	// The operator's topic map, whose rows come after the built-in ones; empty: the built-in rows only.
	Map File `yaml:"map" example:"/etc/gatehouse/topics.yaml"`
	// How many gateways deep a device may be spoken for, 1 to 5; 1: a gateway speaks for the devices that
	// name it, and for nothing further down.
	ActsForDepth int `yaml:"acts_for_depth" unit:"levels"`
}

// Offline holds the ages of the cache at which the stages begin (docs/spec/semantics.md 4.6).
type Offline struct {
	// From this age on health warns.
	Stale time.Duration `yaml:"stale"`
	// From this age on telemetry and reads go on, deployments and administrative writes do not.
	Restricted time.Duration `yaml:"restricted"`
	// From this age on everything is denied.
	Expired time.Duration `yaml:"expired"`
	// On: the gateway goes on deciding by an expired cache.
	KeepAfterExpiry bool `yaml:"keepAfterExpiry"`
}

// Health holds the bounds beyond which health warns.
type Health struct {
	// The link upstream may be down this long before health says upstream-down; at least 1s.
	UpstreamDown time.Duration `yaml:"upstreamDown"`
	// A message may wait this long for upstream before health says outbox-oldest; 0: for ever.
	OldestWaiting time.Duration `yaml:"oldestWaiting"`
}

// State is where the stores live.
type State struct {
	// The directory of cache and messages; made when it is missing. It holds keys: mode 0700.
	Dir File `yaml:"dir" required:"yes" show:"/var/lib/gatehouse"`
	// Free space below which new messages are refused before the store is touched; at least 16 MiB.
	MinFree Size `yaml:"minFree"`
}

// Admin configures the socket of gatehousectl and the status page.
type Admin struct {
	// The unix socket of gatehousectl, mode 0660.
	Socket File `yaml:"socket" required:"yes" show:"/run/gatehouse/admin.sock"`
	// Where the status page, /metrics and /healthz are served, read-only: a loopback HOST:PORT; empty: nowhere.
	Address string `yaml:"address" show:"127.0.0.1:9090"`
	// User ids that may also change things; root and the daemon's own user always may. Any other user who can
	// open the socket may only read.
	Operators []int `yaml:"operators" unit:"user id" example:"[1000]"`
}

// Audit says where decisions are kept.
type Audit struct {
	// A file of JSON lines, besides the log; empty: the log only. Allowed connects go to one of their own
	// beside it (audit.connects.jsonl), so that they never push a denial out.
	File File `yaml:"file" example:"/var/lib/gatehouse/audit.jsonl"`
	// The size at which a new file is begun; for the file of allowed connects, a quarter of it.
	MaxSize Size `yaml:"maxSize"`
	// How many old files are kept.
	Keep int `yaml:"keep" unit:"files"`
	// How many records one principal may cause; further ones are counted instead of written. Allowed connects have
	// a limit of their own: of one principal two are written at once, then one every five minutes, with the count.
	RatePerPrincipal float64 `yaml:"ratePerPrincipal" unit:"records a second"`
	// The newest records that gatehousectl audit can show, 16 to 1000000; beside them a quarter as many
	// allowed connects.
	Ring int `yaml:"ring" unit:"records"`
}

// Log is the daemon's own log.
type Log struct {
	// The lowest level that is written.
	Level string `yaml:"level" choices:"debug,info,warn,error"`
	// auto: the journal's own fields under systemd, text on a terminal, JSON otherwise.
	Format string `yaml:"format" choices:"auto,text,json,journal"`
}
