package warnings

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// every raises and clears each warning of this package. Those that last until the next start have no clear.
var every = []struct {
	name         string
	raise, clear func(*health.Tracker)
}{
	{"accept-failed", func(t *health.Tracker) { AcceptFailed(t, 3) }, func(t *health.Tracker) { AcceptFailed(t, 0) }},
	{"audit-file", func(t *health.Tracker) { AuditFile(t, errFull) }, func(t *health.Tracker) { AuditFile(t, nil) }},
	{
		"cache-age",
		func(t *health.Tracker) { PolicyAge(t, offline.Stale, time.Hour) },
		func(t *health.Tracker) { PolicyAge(t, offline.Fresh, 0) },
	},
	{"cache-dirty", func(t *health.Tracker) { LossesNotKept(t, true) }, func(t *health.Tracker) { PolicyStored(t, true) }},
	{"cache-empty", NoPolicy, func(t *health.Tracker) { PolicyStored(t, true) }},
	{"certificate-authority", authorities(nil, errFull), authorities(nil)},
	{"certificate-authority-expiring", authorities(ends(5)), authorities(ends(100))},
	{
		"certificate-shared",
		func(t *health.Tracker) { SharedCertificates(t, some) },
		func(t *health.Tracker) { SharedCertificates(t, none) },
	},
	{"client-flapping", func(t *health.Tracker) { Flapping(t, some) }, func(t *health.Tracker) { Flapping(t, none) }},
	{
		"client-id-contested",
		func(t *health.Tracker) { ClientIDContested(t, some) },
		func(t *health.Tracker) { ClientIDContested(t, none) },
	},
	{"clock-jump", func(t *health.Tracker) { ClockJump(t, true, 30*time.Hour) }, func(t *health.Tracker) { ClockJump(t, false, 0) }},
	{"cloud-clock", func(t *health.Tracker) { CloudClock(t, true, -time.Hour) }, func(t *health.Tracker) { CloudClock(t, false, 0) }},
	{
		"cloud-sync",
		func(t *health.Tracker) { CloudSync(t, true, "forbidden", "GET") },
		func(t *health.Tracker) { CloudSync(t, false, "", "") },
	},
	{
		"cloud-throttled",
		func(t *health.Tracker) { CloudSync(t, true, "throttled", "GET") },
		func(t *health.Tracker) { CloudSync(t, false, "", "") },
	},
	{"door-crowded", func(t *health.Tracker) { DoorCrowded(t, some) }, func(t *health.Tracker) { DoorCrowded(t, none) }},
	{
		"outbox-full",
		func(t *health.Tracker) { OutboxFull(t, &degraded, Fill{Percent: 81}) },
		func(t *health.Tracker) { OutboxFull(t, nil, Fill{}) },
	},
	{
		"outbox-oldest",
		func(t *health.Tracker) { OutboxOldest(t, true, noon, 3) },
		func(t *health.Tracker) { OutboxOldest(t, false, noon, 0) },
	},
	{"outbox-parked", func(t *health.Tracker) { Parked(t, 1, 2, false) }, func(t *health.Tracker) { Parked(t, 0, 2, false) }},
	{"outbox-paused", func(t *health.Tracker) { Parked(t, 0, 0, true) }, func(t *health.Tracker) { Parked(t, 0, 0, false) }},
	{
		"policy-problems",
		func(t *health.Tracker) { Refused(t, []authz.Problem{{}}, nil) },
		func(t *health.Tracker) { Refused(t, nil, nil) },
	},
	{"publishers-throttled", func(t *health.Tracker) { PublishersHeld(t, 1, 0) }, func(t *health.Tracker) { PublishersHeld(t, 0, 0) }},
	{
		"registry-creates",
		func(t *health.Tracker) { RegistryCreates(t, 2, errFull) },
		func(t *health.Tracker) { RegistryCreates(t, 0, nil) },
	},
	{"reload", func(t *health.Tracker) { Reload(t, some) }, func(t *health.Tracker) { Reload(t, none) }},
	{"restart-needed", func(t *health.Tracker) { RestartNeeded(t, []string{"x"}) }, func(t *health.Tracker) { RestartNeeded(t, nil) }},
	{"root-key-package", func(t *health.Tracker) { RootKeyPackage(t, true) }, func(t *health.Tracker) { RootKeyPackage(t, false) }},
	{"sealing-key", func(t *health.Tracker) { SealingKey(t, errFull) }, func(t *health.Tracker) { SealingKey(t, nil) }},
	{"self-test", func(t *health.Tracker) { SelfTest(t, errFull) }, func(t *health.Tracker) { SelfTest(t, nil) }},
	{"session-overflow", func(t *health.Tracker) { SessionOverflow(t, some) }, func(t *health.Tracker) { SessionOverflow(t, none) }},
	{"store-cramped", func(t *health.Tracker) { StoreCramped(t, true) }, func(t *health.Tracker) { StoreCramped(t, false) }},
	{"store-quarantined-messages", func(t *health.Tracker) { Quarantined(t, "messages", "bits", "/q") }, nil},
	{"store-refuses", func(t *health.Tracker) { StoreRefuses(t, errFull) }, func(t *health.Tracker) { StoreRefuses(t, nil) }},
	{
		"system-clock",
		func(t *health.Tracker) { SystemClock(t, noon.Add(-time.Hour), noon) },
		func(t *health.Tracker) { SystemClock(t, noon, noon) },
	},
	{
		"thumbprint-shared",
		func(t *health.Tracker) { Refused(t, nil, shared(false)) },
		func(t *health.Tracker) { Refused(t, nil, nil) },
	},
	{"token-keys", func(t *health.Tracker) { TokenKeys(t, true, errFull) }, func(t *health.Tracker) { TokenKeys(t, true, nil) }},
	{"topology-problems", func(t *health.Tracker) { Refused(t, nil, shared(true)) }, func(t *health.Tracker) { Refused(t, nil, nil) }},
	{"upstream-certificate", upstreamCertificate(-1), upstreamCertificate(100)},
	{
		"upstream-down",
		func(t *health.Tracker) { UpstreamDown(t, true, &Link{}) },
		func(t *health.Tracker) { UpstreamDown(t, false, &Link{}) },
	},
	{"upstream-files", func(t *health.Tracker) { UpstreamFiles(t, errFull) }, func(t *health.Tracker) { UpstreamFiles(t, nil) }},
	{
		"upstream-throttled",
		func(t *health.Tracker) { UpstreamThrottled(t, true, noon) },
		func(t *health.Tracker) { UpstreamThrottled(t, false, noon) },
	},
	{"upstream-unserved", func(t *health.Tracker) { Unserved(t, some) }, func(t *health.Tracker) { Unserved(t, none) }},
	{"x509-sha1", func(t *health.Tracker) { SHA1(t, true) }, func(t *health.Tracker) { SHA1(t, false) }},
}

var (
	errFull    = errors.New("no space left")
	some, none = []Name{"a"}, []Name(nil)
	noon       = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	degraded   = health.Degraded
)

// ends is a certificate that ends in so many days after noon.
func ends(days time.Duration) []Dated {
	return []Dated{{"c", tlsfile.Validity{NotBefore: noon.Add(-365 * 24 * time.Hour), NotAfter: noon.Add(days * 24 * time.Hour)}}}
}

func authorities(found []Dated, problems ...error) func(*health.Tracker) {
	return func(t *health.Tracker) { DeviceAuthorities(t, noon, found, problems) }
}

func upstreamCertificate(days time.Duration) func(*health.Tracker) {
	return func(t *health.Tracker) { UpstreamCertificate(t, noon, ends(days)) }
}

// shared are the problems of a registry with two records of one hub id, or of one thumbprint.
func shared(sameID bool) []device.Problem {
	one := device.Device{HubID: "a", Auth: device.Auth{Kind: device.AuthSelfSigned, Thumbprints: []device.Thumbprint{{1}}}}
	two := one
	one.ID[0], two.ID[0] = 1, 2
	if two.HubID = "b"; sameID {
		two.HubID, two.Auth = "a", device.Auth{}
	}
	_, problems := device.NewTopology(device.Data{Devices: []device.Device{one, two}}, device.Options{})
	return problems
}

// TestEveryWarning: each is raised under its name, says what is wrong and what to do, and ends.
func TestEveryWarning(t *testing.T) {
	var tried []string
	for _, w := range every {
		tried = append(tried, w.name)
		h := health.New(nil)
		w.raise(h)
		r := h.Report()
		i := slices.IndexFunc(r.Warnings, func(x health.Warning) bool { return x.Name == w.name })
		if i < 0 || len(r.Warnings) != 1 {
			t.Errorf("%s: raised is %+v", w.name, r.Warnings)
			continue
		}
		if x := r.Warnings[i]; len(x.Text) < 20 || len(x.Next) < 10 || strings.Contains(x.Text+x.Next, "%!") {
			t.Errorf("%s says %q, next %q", w.name, x.Text, x.Next)
		}
		if w.clear == nil {
			continue
		}
		if w.clear(h); len(h.Report().Warnings) != 0 {
			t.Errorf("%s: after its end there is %+v", w.name, h.Report().Warnings)
		}
	}
	for _, name := range named(t) {
		if !slices.ContainsFunc(tried, func(s string) bool { return strings.HasPrefix(s, name) }) {
			t.Errorf("%s is not tried here", name)
		}
	}
}

// named are the names in the source of this package.
func named(t *testing.T) (names []string) {
	t.Helper()
	call := regexp.MustCompile(`(?:t\.(?:Set|Raise|Clear)\((?:[^"\n]*, )?|ending\(t, )"([a-z0-9-]+)"`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
	}
	if len(names) < 40 {
		t.Fatalf("only %d names are seen in the source", len(names))
	}
	return names
}
