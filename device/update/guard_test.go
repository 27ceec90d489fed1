package update

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update/manifest"
)

// installed is the report of a device that has installed version 1.1: idle, with the result 700.
func installed(workflow string) string {
	return `{"state":0,` + workflow + `,"installedUpdateId":"{\"provider\":\"Contoso\",\"name\":\"T\",\"version\":\"1.1\"}",` +
		`"lastInstallResult":{"resultCode":700}}`
}

func TestDeploymentReachesTheDevice(t *testing.T) {
	b := newBench(t, nil)
	v := b.patch(applyService("w1", "", "1.1"), true)
	b.wantSees(v, "3 w1")
	if got, ok := v.Desired.Value.At("deviceUpdate", "service", "updateManifest").Str(); !ok || got != string(manifestOf("1.1")) {
		t.Error("the manifest's bytes changed")
	}
	b.wantReport(v, "")
	if v.Desired.Version != 1 {
		t.Errorf("$version %d", v.Desired.Version)
	}
	b.report(`{"state":6,"workflow":{"action":3,"id":"w1"}}`)
	b.wantPhase(InProgress)
	b.report(installed(`"workflow":{"action":3,"id":"w1"}`))
	b.wantPhase(Succeeded)
	asked := len(b.asked)
	b.wantSees(b.look(true), "3 w1")
	if len(b.asked) != asked {
		t.Error("a duplicate is asked about again")
	}
}

// Assert 6 of the smoke test: nothing of a refused action is visible, in the
// patch or in a twin GET.
func TestRefusedActionsAreInvisible(t *testing.T) {
	b := newBench(t, nil)
	b.denied[Create] = unauthorised
	v := b.patch(applyService("w1", "", "1.1"), true)
	b.wantSees(v, "-")
	b.wantReport(v, "not-authorised")
	if strings.Contains(string(v.Report.Bytes()), "Secret") || strings.Contains(string(v.Report.Bytes()), "no-assignment") {
		t.Errorf("the report says too much: %s", v.Report.Bytes())
	}
	v = b.look(true) // a twin GET
	b.wantSees(v, "-")
	b.wantReport(v, "") // once
	if n := b.audited("no-assignment"); n != 1 {
		t.Errorf("audited %d times", n)
	}
	delete(b.denied, Create)
	b.wantSees(b.look(true), "3 w1")
	b.denied[Create], b.denied[Cancel], b.denied[Retry] = unauthorised, unauthorised, unauthorised
	b.report(`{"state":6,"workflow":{"action":3,"id":"w1"}}`)
	for name, service := range map[string]string{"create": applyService("w2", "", "1.2"), "cancel": cancelService} {
		v = b.patch(service, true)
		b.wantSees(v, "3 w1")
		b.wantReport(v, "not-authorised")
		b.wantSees(b.look(true), "3 w1")
		if n := len(b.audit); n == 0 || b.audit[n-1].Allowed || string(b.audit[n-1].Action) != name {
			t.Errorf("%s: audit %+v", name, b.audit)
		}
	}
	b.report(`{"state":255,"workflow":{"action":3,"id":"w1"}}`)
	b.wantPhase(Failed)
	v = b.patch(applyService("w1", "2026-01-01T01:00:00Z", "1.1"), true)
	b.wantSees(v, "3 w1")
	b.wantReport(v, "not-authorised")
	delete(b.denied, Retry)
	b.wantSees(b.look(true), "3 w1 2026-01-01T01:00:00Z")
}

func TestManifestMustBeGood(t *testing.T) {
	good := applyService("w1", "", "1.1")
	for name, c := range map[string]struct{ old, new, reason string }{
		"one byte changed": {`T\",\"version\":\"1.1`, `T\",\"version\":\"1.2`, "hash-mismatch"},
		"no signature":     {`"updateManifestSignature"`, `"x"`, "malformed-service"},
		"action 3.0":       {`"action":3`, `"action":3.0`, "malformed-service"},
		"action as text":   {`"action":3`, `"action":"3"`, "malformed-service"},
		"action 0":         {`"action":3`, `"action":0`, "malformed-service"},
		"no action":        {`"action":3,`, ``, "malformed-service"},
		"manifest object":  {`"updateManifest":"`, `"updateManifest":{},"y":"`, "malformed-service"},
		"Action":           {`"action":3`, `"Action":3,"action":3`, "malformed-service"},
		"empty id":         {`"id":"w1"`, `"id":""`, "malformed-service"},
		"other host":       {fileURL, "http://evil.example/f.bin", "bad-url"},
		"loopback":         {fileURL, "http://127.0.0.1/f.bin", "bad-url"},
		"unknown file":     {`{"f1"`, `{"f2"`, "unknown-file"},
		"root key url":     {`"fileUrls"`, `"rootKeyPackageUrl":"http://evil.example/","fileUrls"`, "bad-url"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			bad := strings.Replace(good, c.old, c.new, 1)
			if bad == good {
				t.Fatal("nothing replaced")
			}
			v := b.patch(bad, true)
			b.wantSees(v, "-")
			b.wantReport(v, c.reason)
			if len(b.asked) != 0 {
				t.Error("asked for a right before the manifest was good")
			}
			if b.audited(c.reason) != 1 {
				t.Errorf("audit %+v", b.audit)
			}
		})
	}
	b := newBench(t, func(o *Options) { o.Verifier = manifest.NewVerifier(manifest.Options{}) })
	b.wantReport(b.patch(good, true), "unknown-root")
}

func TestNothingRidesAlong(t *testing.T) {
	b := newBench(t, nil)
	good := applyService("w1", "", "1.1")
	v := b.raw(
		`{"deviceUpdate":{"__t":"c","service":`+strings.Replace(good, `"fileUrls"`, `"evil":1,"fileUrls"`, 1)+`,"other":1},"interval":5}`,
		true,
	)
	text := string(v.Desired.Value.Bytes())
	if strings.Contains(text, "evil") || strings.Contains(text, "other") || !strings.Contains(text, `"interval":5`) {
		t.Error(text)
	}
	v = b.patch(`{"workflow":{"action":255,"id":"nodeployment"}}`, true) // the short form leaves the manifest in the merged state
	s := v.Desired.Value.At("deviceUpdate", "service")
	if s.Get("updateManifest").Kind() != strictjson.Absent || sees(v) != "255 nodeployment" {
		t.Errorf("a cancel carries content: %s", s.Bytes())
	}
}

func TestGuardedComponents(t *testing.T) {
	b := newBench(t, nil)
	b.denied[Diagnose] = unauthorised
	const patch = `{"azureDeviceUpdateAgent":{"x":1},"DeviceUpdate":{"service":{}},` +
		`"diagnosticInformation":{"service":{"operationId":"o","storageSasUrl":"https://secret"}},"ok":1}`
	v := b.raw(patch, true)
	if got := string(v.Desired.Value.Bytes()); got != `{"ok":1}` {
		t.Error(got)
	}
	b.look(true)
	if len(b.audit) != 3 {
		t.Errorf("audit %+v, want one record for each component", b.audit)
	}
	for _, a := range b.audit {
		if strings.Contains(a.Detail, "secret") {
			t.Errorf("the storage URL is in the audit: %+v", a)
		}
	}
	delete(b.denied, Diagnose)
	if v = b.look(true); v.Desired.Value.Get("diagnosticInformation").Kind() != strictjson.Object {
		t.Error("diagnostics are withheld from who may")
	}
}

func TestReleaseAsksAgain(t *testing.T) {
	b := newBench(t, nil)
	v := b.patch(applyService("w1", "", "1.1"), false) // the device is off
	b.wantSees(v, "-")
	if p := b.guard.State("d1").Pending; p == nil || p.Phase != Queued {
		t.Fatalf("pending %+v", p)
	}
	b.denied[Create] = unauthorised // lost while it waited
	v = b.look(true)
	b.wantSees(v, "-")
	b.wantReport(v, "not-authorised")
	delete(b.denied, Create)
	b.wantSees(b.look(true), "3 w1")
	// A right that is lost after the release takes nothing away from what the device
	// sees.
	b.denied[Create] = unauthorised
	b.wantSees(b.look(true), "3 w1")
}

func TestJournalComesFirst(t *testing.T) {
	b := newBench(t, nil)
	b.wantSees(b.patch(applyService("w1", "", "1.1"), true), "3 w1")
	before := bytes.Clone(b.journal["d1"])
	b.broken = true
	v := b.patch(applyService("w2", "", "1.2"), true)
	b.wantSees(v, "3 w1")
	if len(b.audit) > 0 && b.audit[len(b.audit)-1].Workflow == "w2" {
		t.Error("audited what did not happen")
	}
	if !bytes.Equal(before, b.journal["d1"]) {
		t.Error("written")
	}
	b.broken = false
	b.wantSees(b.look(true), "3 w2")
	b.restart()
	b.denied[Create] = unauthorised
	b.wantSees(b.look(true), "3 w2") // the journal knows that it was shown
	if got := b.guard.State("d1").Current; got.Update != "Contoso/T/1.2" {
		t.Errorf("%+v", got)
	}
}

func TestRetryRules(t *testing.T) {
	b := newBench(t, nil)
	b.patch(applyService("w1", "", "1.1"), true)
	b.report(`{"state":6,"workflow":{"id":"w1"}}`)
	v := b.patch(applyService("w1", "t1", "1.1"), true)
	b.wantSees(v, "3 w1")
	b.wantReport(v, "retry-not-applicable")
	b.now = b.now.Add(6 * time.Hour) // nothing heard: stuck
	b.wantSees(b.look(true), "3 w1 t1")
	b.report(`{"state":255,"workflow":{"id":"w1"}}`)
	b.report(`{"state":0,"workflow":{"id":"w1"}}`) // some agents report idle after failed
	b.wantPhase(Failed)
	v = b.patch(applyService("w1", "t2", "1.9"), true)
	b.wantSees(v, "3 w1 t1")
	b.wantReport(v, "retry-of-another-update")
	// The same name and timestamp with other content changes nothing.
	v = b.patch(applyService("w1", "t1", "1.9"), true)
	b.wantSees(v, "3 w1 t1")
	if s, _ := v.Desired.Value.At("deviceUpdate", "service", "updateManifest").Str(); s != string(manifestOf("1.1")) {
		t.Error("a duplicate replaced the manifest")
	}
	b.wantSees(b.patch(applyService("w1", "t3", "1.1"), true), "3 w1 t3")
	b.report(installed(`"workflow":{"id":"w1"}`))
	b.now = b.now.Add(100 * time.Hour)
	b.wantReport(b.patch(applyService("w1", "t4", "1.1"), true), "retry-not-applicable")
}

func TestCancel(t *testing.T) {
	b := newBench(t, nil)
	b.wantSees(b.patch(applyService("w1", "", "1.1"), true), "3 w1")
	b.wantSees(b.patch(cancelService, true), "255 nodeployment")
	if s := b.guard.State("d1").Shown; s.Binds != "w1" {
		t.Errorf("bound to %q", s.Binds)
	}
	b.report(`{"state":0,"workflow":{"action":255,"id":"nodeployment"}}`)
	b.wantPhase(Cancelled)
	b.wantSees(b.patch(applyService("w1", "t1", "1.1"), true), "3 w1 t1")
	v := b.patch(`{"workflow":{"action":255,"id":"w9","retryTimestamp":null}}`, true)
	b.wantSees(v, "3 w1 t1")
	b.wantReport(v, "cancel-of-another-workflow")
	b.wantSees(b.patch(`{"workflow":{"action":255,"id":"w1"}}`, true), "255 w1")
}

func TestStandingCancel(t *testing.T) {
	b := newBench(t, nil)
	b.denied[Cancel] = unauthorised
	v := b.patch(cancelService, true)
	b.wantSees(v, "-")
	b.wantReport(v, "") // a state, not an action
	b.look(true)
	if n := b.audited("no-assignment"); n != 1 {
		t.Errorf("audited %d times, want once for the version", n)
	}
	b.raw(`{"interval":6}`, true)
	if n := b.audited("no-assignment"); n != 2 {
		t.Errorf("audited %d times, want once more for the next version", n)
	}
	delete(b.denied, Cancel)
	b.wantSees(b.look(true), "255 nodeployment")
}

func TestCancelEndsWhatWaits(t *testing.T) {
	b := newBench(t, nil)
	b.patch(applyService("w1", "", "1.1"), false)
	b.denied[Cancel] = unauthorised
	v := b.patch(cancelService, false)
	b.wantReport(v, "not-authorised") // there is something to cancel: an action
	if p := b.guard.State("d1").Pending; p == nil || p.ID != "w1" {
		t.Fatalf("pending %+v", p)
	}
	delete(b.denied, Cancel)
	b.look(false)
	b.wantSees(b.look(true), "255 nodeployment")
	if b.guard.State("d1").Current != nil {
		t.Error("the deployment was shown")
	}
}

func TestQueuedCancelOfAnotherWorkflowIsDropped(t *testing.T) {
	b := newBench(t, nil)
	b.patch(applyService("w1", "", "1.1"), true)
	b.patch(cancelService, false)
	b.report(installed(`"workflow":{"id":"w1"}`))
	d := b.guard.device("d1")
	d.mu.Lock()
	err := b.guard.apply(t.Context(), d, &turn{device: "d1"}, Arrived{b.now})
	d.mu.Unlock()
	if err != nil || b.guard.State("d1").Pending != nil || b.guard.State("d1").Shown.Action == Cancel {
		t.Errorf("%v %+v", err, b.guard.State("d1"))
	}
}

func TestAnotherIDSupersedes(t *testing.T) {
	b := newBench(t, nil)
	b.patch(applyService("w1", "", "1.1"), true)
	b.wantSees(b.patch(applyService("w2", "", "1.2"), true), "3 w2")
	b.report(`{"state":255,"workflow":{"id":"w1"}}`) // of the old one
	b.wantPhase(Released)
	found := false
	for _, a := range b.audit {
		found = found || a.Workflow == "w1" && a.Phase == Superseded
	}
	if !found {
		t.Errorf("audit %+v", b.audit)
	}
}

func TestHeldIsNotRefused(t *testing.T) {
	b := newBench(t, nil)
	b.denied[Create] = Decision{Hold: true, Reason: "restricted"}
	v := b.patch(applyService("w1", "", "1.1"), true)
	b.wantSees(v, "-")
	b.wantReport(v, "")
	b.restart()
	b.look(true)
	if n := b.audited("restricted"); n != 1 {
		t.Errorf("audited %d times", n)
	}
	delete(b.denied, Create)
	b.wantSees(b.look(true), "3 w1")
}

func TestRecords(t *testing.T) {
	b := newBench(t, func(o *Options) { o.RequireRecords = true })
	v := b.patch(applyService("w1", "", "1.1"), true) // no source: held, never waved through
	b.wantSees(v, "-")
	b.wantReport(v, "")
	b = newBench(t, func(o *Options) { o.RequireRecords = true })
	b.o.Records = b
	b.restart()
	b.records = func(a Action, w, u string) Decision {
		if a != Create || w != "w1" || u != "Contoso/T/1.1" {
			t.Errorf("asked for %s %s %s", a, w, u)
		}
		return Decision{Reason: "no-record"}
	}
	b.wantReport(b.patch(applyService("w1", "", "1.1"), true), "no-record")
	b.records = func(Action, string, string) Decision { return Decision{Allowed: true} }
	b.wantSees(b.look(true), "3 w1")
}

func TestCompatibility(t *testing.T) {
	b := newBench(t, nil)
	b.report(`{"deviceProperties":{"manufacturer":"Fabrikam","model":"X","contractModelId":"dtmi:azure:iot:deviceUpdateContractModel;2"}}`)
	v := b.patch(applyService("w1", "", "1.1"), true)
	b.wantSees(v, "-")
	n, ok := v.Report.At("deviceUpdate", "agent", "lastInstallResult", "extendedResultCode").Int()
	if !ok || uint32(int32(n)) != ExtendedResultCode("incompatible") {
		t.Errorf("contract 2 wants a number: %s", v.Report.Bytes())
	}
	b.report(`{"deviceProperties":{"manufacturer":"Contoso","model":"T"}}`)
	b.wantSees(b.look(true), "3 w1")
}

func TestSilentAndWithdrawn(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Silent = true })
	b.denied[Create] = unauthorised
	b.wantReport(b.patch(applyService("w1", "", "1.1"), true), "")
	delete(b.denied, Create)
	b.wantSees(b.look(true), "3 w1")
	b.wantSees(b.raw(`{"deviceUpdate":null}`, true), "-")
	b.wantSees(b.patch(applyService("w1", "", "1.1"), true), "3 w1")
}

// A damaged record can only take away.
func TestUnreadableJournalRecordIsDropped(t *testing.T) {
	b := newBench(t, nil)
	b.patch(applyService("w1", "", "1.1"), true)
	b.journal["d1"] = []byte(`{"shown":`)
	b.denied[Create] = unauthorised
	b.restart()
	b.wantSees(b.look(true), "-")
}

func FuzzParseService(f *testing.F) {
	f.Add([]byte(cancelService))
	f.Add([]byte(`{"workflow":{"action":3,"id":"a"},"updateManifest":"{}","updateManifestSignature":"x","fileUrls":{"f":null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := strictjson.Parse(text, strictjson.Limits{})
		if err != nil {
			return
		}
		s, err := ParseService(v)
		if err != nil {
			return
		}
		if a := v.At("workflow", "action").Literal(); a != "3" && a != "255" {
			t.Fatalf("action %s passes", a)
		}
		again, err := ParseService(s.Value())
		if err != nil || again.ID != s.ID || again.Cancel != s.Cancel || again.Manifest != s.Manifest {
			t.Fatalf("not stable: %v", err)
		}
	})
}
