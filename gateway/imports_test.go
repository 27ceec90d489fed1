package gateway_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/testcache"
)

const module = "github.com/gatehouse/gatehouse/"

// A rule says which packages may import something; the reason is printed
// with every violation, because a rule nobody remembers is a rule nobody keeps.
type rule struct {
	imported string   // import path or prefix (with trailing /...), ours without the module path
	allowed  []string // package paths or prefixes that may import it
	reason   string
}

var onlyHere = []rule{
	{"github.com/mochi-mqtt/server/v2/...", []string{"gateway/broker/...", "cmd/managementd/internal/hub/...", "cmd/internal/bench/mochi"},
		"the embedded broker is treated as untrusted: one wrapper makes its guarantees true by construction; " +
			"the benchmark's peer is the library alone, to show what the wrapper costs"},
	{"github.com/dgraph-io/badger/v4/...", []string{"gateway/store/..."},
		"durability, sealing and quarantine are decided in one place"},
	{"github.com/eclipse/paho.mqtt.golang/...", []string{"gateway/upstream/...", "cmd/internal/..."},
		"an MQTT client belongs to the uplink, the simulators and the smoke test"},
	{"github.com/prometheus/...", []string{"gateway/metrics/..."},
		"rooms count in plain values; one room speaks Prometheus"},
	{"github.com/hanwen/go-fuse/v2/...", []string{"gateway/store/internal/powerfs"},
		"a file system for tests is no part of a daemon"},
	{"github.com/Azure/...", []string{"sync/client/credential"},
		"the gateway's own token comes from one place; who asks for it sees an Authorization header"},
	{"github.com/coreos/go-systemd/v22/...", []string{"gateway/systemd/..."},
		"one room speaks to the service manager"},
}

// mayImport lists, for a room, which of our own packages it may import. The first rule that a room
// matches is its own.
var mayImport = []rule{
	{"authz/...", []string{"authz/...", "device/space"}, "the engine is a library: no clock, no I/O, no device, no gateway"},
	{"device/space", nil, "a leaf"},
	{"device/credential/...", []string{"device/credential/...", "device", "device/space"},
		"both sides of the wire use them: they know records, and neither a registry nor a gateway"},
	{"device/...", []string{"device/..."}, "devices know nothing of rights: the guard asks through its own Authorizer"},

	{"gateway/topic", nil, "a leaf"},
	{"gateway/topic/mapping", []string{"gateway/topic"}, "names to names: it knows neither a link nor the configuration"},
	{"gateway/offline", nil, "a leaf: what time it is and how old the policy is depend on no other room"},
	{"gateway/actors", nil, "a leaf: how parts start and stop, whatever they are"},
	{"gateway/memory", nil, "a leaf: it asks the runtime, and nobody else"},
	{"gateway/freeport", nil, "a leaf"},
	{"gateway/printable", nil, "a leaf"},
	{"gateway/testcache", nil, "a leaf: it asks the go command, and nobody else"},
	{"gateway/principal", []string{"authz/model", "device/space"}, "values"},
	{"gateway/message", []string{"authz/model", "device/space", "gateway/principal", "gateway/topic"}, "values"},
	{"gateway/generation", []string{"authz/model", "device", "device/space"}, "values"},
	{"gateway/config", []string{"gateway/topic/...", "device/space"}, "configuration is read before any room exists"},
	{"gateway/tlsfile", []string{"gateway/config"}, "files to crypto/tls, for whoever opens a socket or a link"},
	{"gateway/ownid", []string{"device/credential/sas", "gateway/config", "gateway/tlsfile", "sync/client/..."},
		"settings to a source of tokens; who uses them, and what health makes of it, is the root's"},
	{"gateway/listeners", []string{"gateway/config", "gateway/tlsfile"},
		"opens sockets; what is served on them, and what health makes of it, is the root's"},
	{"gateway/identity/jwks", []string{"gateway/config", "device/credential/jwt"},
		"keeps the key set; who is proved by it is identity's business"},
	{"gateway/policy", []string{"gateway/generation", "gateway/principal", "authz", "authz/model", "device", "sync/replica"},
		"puts facts into force; what stores them and whom they concern stand behind its own interfaces"},
	{"gateway/preflight", []string{
		"gateway/access",
		"gateway/config",
		"gateway/identity/jwks",
		"gateway/offline",
		"gateway/store",
		"gateway/tlsfile",
		"gateway/upstream",
		"gateway/upstream/links",
		"device/update/trust",
	}, "looks at what a configuration names, and builds nothing: the rehearsal is given to it"},
	{"gateway/store/internal/powerfs", nil, "a file system of the store's tests: it knows no record"},
	{"gateway/upstream", []string{"gateway/message", "gateway/principal", "gateway/topic", "gateway/topic/mapping", "sync/backoff"},
		"outbox, routes and pump: the links know it, and it knows no link"},
	{"gateway/upstream/mqttconn/...", nil, "one MQTT connection: what it carries is its user's business"},
	{"gateway/upstream/downlink", []string{
		"gateway/message",
		"gateway/principal",
		"gateway/upstream",
		"gateway/upstream/iothub",
		"device",
		"device/credential/sas",
		"device/twin",
		"sync/backoff",
	}, "brings the hub's requests down; twins, the broker and the policy stand behind its options"},
	{"gateway/upstream/links", []string{"gateway/config", "gateway/tlsfile", "gateway/topic/mapping", "gateway/upstream/..."},
		"the only part of upstream that reads the configuration"},

	{"sync/backoff", nil, "a leaf: whoever retries may use it"},
	{"sync/management/...", []string{
		"sync/wire",
		"sync/management/...",
		"authz",
		"authz/...",
		"device",
		"device/space",
		"device/credential/...",
	}, "the server side of the wire; the only part of sync that decides"},
	{"sync/client/credential", []string{"sync/backoff"}, "asks a token endpoint; it knows neither the API nor the configuration"},
	{"sync/...", []string{"sync/...", "authz/model", "device", "device/space"},
		"sync carries facts; it never decides and never sees the gateway"},

	{"cmd/internal/mutants", nil, "changes lines of whatever a list names: it knows no package"},
	{"cmd/internal/process", nil, "a leaf: programs that are started and ended"},
	{"cmd/internal/load", []string{"gateway/broker/frame", "gateway/message"},
		"loads any MQTT broker: it speaks MQTT and knows nothing else of the gateway"},
	{"cmd/internal/site", []string{"device", "device/credential/...", "sync/management/..."},
		"the demo's building, its authority and its devices: what the cloud knows, and no gateway"},
	{"cmd/internal/bench", []string{
		"cmd/internal/bench/rig",
		"cmd/internal/bench/verdict",
		"cmd/internal/load",
		"cmd/internal/site",
		"gateway/admin",
		"gateway/freeport",
	}, "measures the programs as they are installed, from outside"},
	{"cmd/internal/bench/memory", []string{"cmd/internal/bench/rig", "cmd/internal/bench/verdict", "cmd/internal/load"},
		"measures the programs as they are installed, from outside"},
	{"cmd/internal/bench/revoke", []string{"cmd/internal/bench/rig", "cmd/internal/bench/verdict", "cmd/internal/load", "cmd/internal/site"},
		"measures the programs as they are installed, from outside"},
	{"cmd/internal/bench/rig", []string{
		"authz/model",
		"cmd/internal/load",
		"cmd/internal/process",
		"cmd/internal/site",
		"device/credential/...",
		"gateway/admin",
		"gateway/freeport",
	}, "starts the programs as they are installed, on a site that it makes"},
	{"cmd/internal/bench/verdict", nil, "compares numbers"},
	{"cmd/internal/bench/mochi", nil, "the library alone, with nothing of ours"},
}

// adapters may not import each other: they meet as values or through
// interfaces that the consumer declares.
var adapters = []string{"broker", "access", "identity", "store", "upstream", "twins", "registry", "duapi", "admin", "console", "audit",
	"health", "metrics", "systemd"}

// joints are the value packages that every adapter may import.
var joints = []string{
	"gateway/principal",
	"gateway/message",
	"gateway/topic/...",
	"gateway/config",
	"gateway/offline",
	"gateway/generation",
	"gateway/tlsfile",
	"gateway/printable",
	"authz/...",
	"device/...",
	"sync/backoff",
}

// readers are rooms whose subject is other rooms. They read the values of those
// listed, through interfaces of their own, and build none of them.
var readers = []rule{
	{"gateway/admin/inspect", []string{
		"gateway/access",
		"gateway/audit",
		"gateway/broker",
		"gateway/health",
		"gateway/health/warnings",
		"gateway/listeners",
		"gateway/metrics",
		"gateway/upstream",
		"sync/replica",
	}, "inspect puts what the rooms say of themselves into operators' words"},
	{"gateway/health/watch", []string{"gateway/store", "gateway/upstream", "gateway/upstream/links"},
		"watch raises warnings by how long a state of another room has lasted, or how far a counter has come"},
}

func TestImports(t *testing.T) {
	for _, p := range listPackages(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, to := range p.Imports {
			for _, v := range violations(from, to) {
				t.Error(v)
			}
		}
		// Tests may use more of our own rooms, but mochi stays behind its fence.
		for _, to := range append(p.TestImports, p.XTestImports...) {
			if strings.HasPrefix(to, "github.com/mochi-mqtt/") {
				for _, v := range violations(from, to) {
					t.Error(v)
				}
			}
		}
	}
}

// TestRulesAreOfRooms: a rule for a package that does not exist holds nothing.
func TestRulesAreOfRooms(t *testing.T) {
	packages := listPackages(t)
	exists := func(pattern string) bool {
		for _, p := range packages {
			if matches(pattern, strings.TrimPrefix(p.ImportPath, module)) {
				return true
			}
		}
		return false
	}
	var named []string
	for _, r := range append(append([]rule{}, mayImport...), readers...) {
		named = append(append(named, r.imported), r.allowed...)
	}
	for _, r := range onlyHere {
		named = append(named, r.allowed...)
	}
	for _, a := range adapters {
		named = append(named, "gateway/"+a)
	}
	for _, n := range append(named, joints...) {
		if !exists(n) {
			t.Errorf("%s is in a rule and is no package", n)
		}
	}
	if exists("gateway/none/...") {
		t.Error("a package that does not exist is found")
	}
}

func violations(from, to string) []string {
	var found []string
	refuse := func(reason string) { found = append(found, from+" imports "+to+": "+reason) }
	for _, r := range onlyHere {
		if matches(r.imported, to) && !matchesAny(r.allowed, from) {
			refuse(r.reason)
		}
	}
	ours, isOurs := strings.CutPrefix(to, module)
	if !isOurs {
		return found
	}
	for _, r := range mayImport {
		if matches(r.imported, from) {
			if !matchesAny(r.allowed, ours) {
				refuse(r.reason)
			}
			break
		}
	}
	for _, a := range adapters {
		room := "gateway/" + a + "/..."
		if matches(room, from) && !matches(room, ours) && !matchesAny(joints, ours) && !mayRead(from, ours) {
			refuse("adapters meet as values or through interfaces that the consumer declares")
		}
	}
	if strings.HasPrefix(ours, "cmd/") && !strings.HasPrefix(from, "cmd/") {
		refuse("nothing imports a command")
	}
	if ours == "gateway" && !strings.HasPrefix(from, "cmd/") {
		refuse("only commands import the composition root")
	}
	return found
}

func mayRead(from, ours string) bool {
	for _, r := range readers {
		if matches(r.imported, from) && matchesAny(r.allowed, ours) {
			return true
		}
	}
	return false
}

// Each rule is seen to bite, and to let the allowed pass.
func TestImportRulesBite(t *testing.T) {
	refused := [][2]string{
		{"gateway/access", "github.com/mochi-mqtt/server/v2"},
		{"sync/management", "github.com/dgraph-io/badger/v4"},
		{"gateway/broker", "github.com/eclipse/paho.mqtt.golang"},
		{"cmd/internal/bench", "github.com/mochi-mqtt/server/v2"},
		{"gateway/admin", "github.com/prometheus/client_golang/prometheus"},
		{"gateway", "github.com/coreos/go-systemd/v22/daemon"},
		{"authz", module + "device"},
		{"authz/condition", module + "gateway/topic"},
		{"device/space", module + "authz/model"},
		{"device/update", module + "authz"},
		{"gateway/config", module + "gateway/message"},
		{"gateway/tlsfile", module + "gateway/health"},
		{"gateway/listeners", module + "gateway/broker"},
		{"gateway/identity/jwks", module + "gateway/store"},
		{"sync/client/credential", module + "gateway/config"},
		{"gateway/offline", module + "gateway/config"},
		{"gateway/actors", module + "gateway/health"},
		{"gateway/generation", module + "gateway/store"},
		{"gateway/preflight", module + "gateway/broker"},
		{"gateway/upstream", module + "gateway/upstream/links"},
		{"gateway/upstream/downlink", module + "gateway/twins"},
		{"gateway/upstream/downlink", module + "gateway/config"},
		{"gateway/upstream/links", module + "gateway/broker"},
		{"gateway/upstream/mqttconn", module + "gateway/message"},
		{"gateway/topic/mapping", module + "gateway/config"},
		{"gateway/store/internal/powerfs", module + "gateway/message"},
		{"gateway/health/warnings", module + "gateway/broker"},
		{"gateway/health/watch", module + "gateway/broker"},
		{"device/credential/jwt", module + "device/update"},
		{"sync/backoff", module + "sync/client"},
		{"cmd/internal/load", module + "gateway/broker"},
		{"cmd/internal/site", module + "gateway/config"},
		{"cmd/internal/bench", module + "gateway/broker"},
		{"cmd/internal/process", module + "cmd/internal/site"},
		{"gateway/policy", module + "gateway/store"},
		{"gateway/policy", module + "gateway/broker"},
		{"gateway/store", module + "gateway/policy"},
		{"sync/replica", module + "authz"},
		{"sync/client", module + "gateway/config"},
		{"sync/management", module + "gateway/store"},
		{"gateway/broker", module + "gateway/access"},
		{"gateway/store", module + "gateway/broker/plane"},
		{"gateway/access", module + "cmd/gatehoused"},
		{"gateway/admin", module + "gateway"},
		{"gateway/admin", module + "gateway/broker"},
		{"gateway/admin/inspect", module + "gateway/store"},
	}
	for _, c := range refused {
		if len(violations(c[0], c[1])) == 0 {
			t.Errorf("%s may import %s: the rule does not bite", c[0], c[1])
		}
	}
	allowed := [][2]string{
		{"gateway/broker/plane", "github.com/mochi-mqtt/server/v2/packets"},
		{"gateway/access", module + "authz"},
		{"gateway/access", module + "gateway/offline"},
		{"gateway/policy", module + "sync/replica"},
		{"gateway/store", module + "gateway/generation"},
		{"gateway/broker", module + "gateway/broker/plane"},
		{"sync/management", module + "authz"},
		{"cmd/gatehoused", module + "gateway"},
		{"gateway/admin/inspect", module + "gateway/broker"},
		{"device/update", module + "device/update/manifest"},
	}
	for _, c := range allowed {
		if v := violations(c[0], c[1]); len(v) > 0 {
			t.Errorf("refused: %s", v)
		}
	}
}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	testcache.Open(t, module+"...")
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found %d packages: the rules would pass on nothing", len(all))
	}
	return all
}

func matches(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == prefix || strings.HasPrefix(path, prefix+"/")
	}
	return path == pattern
}

func matchesAny(patterns []string, path string) bool {
	for _, p := range patterns {
		if matches(p, path) {
			return true
		}
	}
	return false
}
