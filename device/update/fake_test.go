package update

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
)

var signer = sync.OnceValue(func() *manifesttest.Authority {
	a, err := manifesttest.New()
	if err != nil {
		panic(err)
	}
	return a
})

// bench is a guard with everything around it in the test's hands.
type bench struct {
	t       *testing.T
	guard   *Guard
	now     time.Time
	denied  map[Action]Decision // what is not allowed, and how
	asked   []Action
	records func(action Action, workflow, update string) Decision
	journal map[string][]byte
	broken  bool // the journal fails
	audit   []AuditRecord
	o       Options

	version int64
	desired strictjson.Value
}

func (b *bench) May(_ context.Context, who Initiator, a Action, device string) Decision {
	b.asked = append(b.asked, a)
	if d, ok := b.denied[a]; ok {
		return d
	}
	if d, ok := b.denied[Cancel]; ok && a == CancelReleased { // who may not cancel may not end what runs
		return d
	}
	return Decision{Allowed: true, Reason: "granted"}
}

func (b *bench) Check(_ context.Context, _ string, a Action, workflow, update string) Decision {
	return b.records(a, workflow, update)
}

func (b *bench) Save(_ context.Context, device string, record []byte) error {
	if b.broken {
		return errors.New("disk full")
	}
	b.journal[device] = append([]byte(nil), record...)
	return nil
}

func (b *bench) Load(yield func(string, []byte) error) error {
	for d, r := range b.journal {
		if err := yield(d, r); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) Delete(_ context.Context, device string) error {
	delete(b.journal, device)
	return nil
}

var unauthorised = Decision{Reason: "no-assignment", Detail: "role Secret Role is missing"}

func newBench(t *testing.T, change func(*Options)) *bench {
	b := &bench{
		t:       t,
		now:     time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		denied:  map[Action]Decision{},
		journal: map[string][]byte{},
		desired: strictjson.ObjectValue(),
	}
	b.o = Options{Authorizer: b, Journal: b, Verifier: manifest.NewVerifier(manifest.Options{Roots: signer().Roots()}),
		Now: func() time.Time { return b.now }, Audit: func(r AuditRecord) { b.audit = append(b.audit, r) }}
	if change != nil {
		change(&b.o)
	}
	b.restart()
	return b
}

// restart makes a new guard from what the journal holds.
func (b *bench) restart() {
	b.t.Helper()
	b.guard = New(b.o)
	if err := b.guard.Load(); err != nil {
		b.t.Fatal(err)
	}
}

func js(t testing.TB, s string) strictjson.Value {
	t.Helper()
	v, err := strictjson.Parse([]byte(s), strictjson.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const fileURL = "http://x.b.nlu.dl.adu.microsoft.com/f.bin"

func manifestOf(version string) []byte {
	return manifesttest.Update{ID: manifest.UpdateID{Provider: "Contoso", Name: "T", Version: version}, Manufacturer: "Contoso", Model: "T",
		FileID: "f1", FileName: "f.bin", Content: []byte(version), Created: "2026-01-01T00:00:00Z"}.Manifest()
}

// applyService is the text of a service that deploys a version under an id.
func applyService(id, retry, version string) string {
	text := manifestOf(version)
	ts := "null"
	if retry != "" {
		ts = fmt.Sprintf("%q", retry)
	}
	return fmt.Sprintf(
		`{"workflow":{"action":3,"id":%q,"retryTimestamp":%s},"updateManifest":%q,"updateManifestSignature":%q,"fileUrls":{"f1":%q}}`,
		id, ts, text, signer().Sign(text), fileURL,
	)
}

const cancelService = `{"workflow":{"action":255,"id":"nodeployment"},"updateManifest":null,"updateManifestSignature":null,"fileUrls":null}`

// patch merges a patch of the desired state, as the hub's twin would, and judges.
func (b *bench) patch(service string, present bool) View {
	b.t.Helper()
	return b.raw(`{"deviceUpdate":{"__t":"c","service":`+service+`}}`, present)
}

func (b *bench) raw(patch string, present bool) View {
	b.t.Helper()
	b.desired = strictjson.Merge(b.desired, js(b.t, patch))
	b.version++
	return b.look(present)
}

// look judges the same desired state again: a twin GET.
func (b *bench) look(present bool) View {
	b.t.Helper()
	v, err := b.guard.Desired(b.t.Context(), "d1", twin.Properties{Value: b.desired, Version: b.version}, present)
	if err != nil && !b.broken {
		b.t.Fatal(err)
	}
	return v
}

func (b *bench) report(agent string) Reports {
	b.t.Helper()
	r, err := b.guard.Reported(b.t.Context(), "d1", js(b.t, `{"deviceUpdate":{"__t":"c","agent":`+agent+`}}`))
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// sees is the short form of what a view shows: "3 w1", "3 w1 ts", "255", or "-".
func sees(v View) string {
	s := v.Desired.Value.At("deviceUpdate", "service")
	if s.Kind() != strictjson.Object {
		return "-"
	}
	id, _ := s.At("workflow", "id").Str()
	ts, _ := s.At("workflow", "retryTimestamp").Str()
	return strings.TrimSpace(s.At("workflow", "action").Literal() + " " + id + " " + ts)
}

func (b *bench) wantSees(v View, want string) {
	b.t.Helper()
	if got := sees(v); got != want {
		b.t.Errorf("the device sees %q, want %q", got, want)
	}
}

func (b *bench) wantReport(v View, reason string) {
	b.t.Helper()
	if reason == "" {
		if v.Report.Kind() != strictjson.Absent {
			b.t.Errorf("reported: %s", v.Report.Bytes())
		}
		return
	}
	agent := v.Report.At("deviceUpdate", "agent")
	state, _ := agent.Get("state").Int()
	code, _ := agent.At("lastInstallResult", "extendedResultCodes").Str()
	ac, _ := v.Report.At("deviceUpdate", "service", "ac").Int()
	av, _ := v.Report.At("deviceUpdate", "service", "av").Int()
	if state != 255 || code != fmt.Sprintf("%08X", ExtendedResultCode(reason)) || ac != 406 || av != b.version {
		b.t.Errorf("report %s, want 255, %08X, 406, %d", v.Report.Bytes(), ExtendedResultCode(reason), b.version)
	}
}

func (b *bench) wantPhase(want Phase) {
	b.t.Helper()
	if c := b.guard.State("d1").Current; c == nil || c.Phase != want {
		b.t.Errorf("current %+v, want phase %s", c, want)
	}
}

func (b *bench) audited(reason string) int {
	n := 0
	for _, a := range b.audit {
		if a.Reason == reason && !a.Allowed {
			n++
		}
	}
	return n
}
