package update

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// shelf is an update store with one update.
type shelf struct{ t *testing.T }

func (s shelf) Find(_ context.Context, id string) (Service, bool) {
	if id != "Contoso/T/2.0" {
		return Service{}, false
	}
	v, err := ParseService(js(s.t, applyService("x", "", "2.0")))
	if err != nil {
		s.t.Fatal(err)
	}
	return v, true
}

type proxy struct {
	err error
	got []Request
}

func (p *proxy) Forward(_ context.Context, r Request) (Answer, error) {
	p.got = append(p.got, r)
	return Answer{Status: 200, Body: []byte(`{"from":"cloud"}`)}, p.err
}

var alice = Initiator{Name: "alice", Identities: []byte("alice's identities")}

func (b *bench) local(a Action, deployment, body string) Answer {
	b.t.Helper()
	got, err := b.guard.Local(b.t.Context(), Request{Device: "d1", Deployment: deployment, Action: a, Who: alice, Body: []byte(body)})
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

const update2 = `{"update":{"updateId":{"provider":"Contoso","name":"T","version":"2.0"}}}`

func TestLocalDeployment(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Updates = shelf{t} })
	rechecked := 0
	b.o.Recheck = func(string) { rechecked++ }
	b.restart()
	b.wantSees(b.patch(applyService("w1", "", "1.1"), true), "3 w1")
	for name, c := range map[string]struct {
		body string
		want int
	}{"garbage": {`{`, 400}, "no id": {`{}`, 400}, "not in the store": {strings.Replace(update2, "2.0", "3.0", 1), 404}} {
		if got := b.local(Create, "l1", c.body); got.Status != c.want {
			t.Errorf("%s: %d %s", name, got.Status, got.Body)
		}
	}
	if got := b.local(Create, "l1", update2); got.Status != 200 || !json.Valid(got.Body) || rechecked != 1 {
		t.Fatalf("%d %s, rechecked %d", got.Status, got.Body, rechecked)
	}
	b.wantSees(b.look(true), "3 l1")
	if who := b.guard.State("d1").Current.Who; string(who.Identities) != string(alice.Identities) {
		t.Errorf("recorded as %+v", who)
	}
	b.restart()
	b.wantSees(b.look(true), "3 l1") // the hub's state is not newer
	if got := b.local(Retry, "l1", ""); got.Status != 409 {
		t.Errorf("retry while it runs: %d %s", got.Status, got.Body)
	}
	b.report(`{"state":255,"workflow":{"id":"l1"}}`)
	if got := b.local(Retry, "l1", ""); got.Status != 200 {
		t.Errorf("retry after it failed: %d %s", got.Status, got.Body)
	}
	if got := sees(b.look(true)); !strings.HasPrefix(got, "3 l1 2026-") {
		t.Errorf("sees %q", got)
	}
	if got := b.local(Cancel, "l9", ""); got.Status != 404 {
		t.Errorf("cancel of nothing: %d", got.Status)
	}
	if got := b.local(Cancel, "l1", ""); got.Status != 200 {
		t.Errorf("cancel: %d %s", got.Status, got.Body)
	}
	b.wantSees(b.look(true), "255 l1")
	b.wantSees(b.patch(applyService("w2", "", "1.2"), true), "3 w2") // newer than the local one
}

func TestLocalNeedsRights(t *testing.T) {
	p := &proxy{}
	b := newBench(t, func(o *Options) { o.Updates, o.Cloud = shelf{t}, p })
	for _, a := range []Action{Create, Cancel, Retry, Get} {
		b.denied[a] = unauthorised
		got := b.local(a, "l1", update2)
		if got.Status != 403 || strings.Contains(string(got.Body), "Secret") || strings.Contains(string(got.Body), "no-assignment") {
			t.Errorf("%s: %d %s", a, got.Status, got.Body)
		}
	}
	if len(p.got) != 0 || b.guard.State("d1").Pending != nil {
		t.Error("forwarded or queued")
	}
	if n := b.audited("no-assignment"); n != 4 {
		t.Errorf("audited %d times", n)
	}
	delete(b.denied, Create)
	if got := b.local(Create, "l1", update2); string(got.Body) != `{"from":"cloud"}` || len(p.got) != 1 {
		t.Errorf("online: %s", got.Body)
	}
	p.err = ErrOffline
	b.denied[Create] = Decision{Hold: true, Reason: "restricted"}
	if got := b.local(Create, "l1", update2); got.Status != 503 {
		t.Errorf("undecidable: %d", got.Status)
	}
	p.err = errors.New("broken")
	delete(b.denied, Create)
	if _, err := b.guard.Local(t.Context(), Request{Device: "d1", Deployment: "l1", Action: Create, Who: alice}); err == nil {
		t.Error("an error of the cloud is silent")
	}
}

// Work that was not released is cancelled without the device; a local
// deployment that waits loses its right like any other.
func TestLocalWaits(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Updates = shelf{t} })
	b.raw(`{"interval":1}`, false)
	b.local(Create, "l1", update2)
	if got := b.local(Cancel, "l1", ""); got.Status != 200 {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if s := b.guard.State("d1"); s.Current != nil || s.Pending != nil && s.Pending.Action != Cancel {
		t.Errorf("%+v", s)
	}
	b.local(Create, "l2", update2)
	b.denied[Create] = unauthorised
	b.wantSees(b.look(true), "-")
	if got := b.local(Get, "", ""); got.Status != 200 || !strings.Contains(string(got.Body), `"gatewayRefused":"no-assignment"`) {
		t.Errorf("%s", got.Body)
	}
}

func TestForget(t *testing.T) {
	b := newBench(t, nil)
	b.patch(applyService("w1", "", "1.1"), true)
	if err := b.guard.Forget(t.Context(), "d1"); err != nil {
		t.Fatal(err)
	}
	b.denied[Create] = unauthorised
	b.wantSees(b.look(true), "-")
	b.restart()
	b.wantSees(b.look(true), "-")
}

// A cancel never hands a device an address that is not allowed.
func TestCancelCarriesNoForeignAddress(t *testing.T) {
	b := newBench(t, nil)
	b.patch(applyService("w1", "", "1.1"), true)
	for url, want := range map[string]string{
		"http://evil.example/p.json":           "",
		"http://x.dl.adu.microsoft.com/p.json": "http://x.dl.adu.microsoft.com/p.json",
	} {
		b.wantSees(b.patch(applyService("w"+url, "", "1.1"), true), "3 w"+url)
		v := b.patch(`{"workflow":{"action":255,"id":"nodeployment"},"rootKeyPackageUrl":"`+url+`"}`, true)
		b.wantSees(v, "255 nodeployment")
		if got, _ := v.Desired.Value.At("deviceUpdate", "service", "rootKeyPackageUrl").Str(); got != want {
			t.Errorf("%s: the device gets %q", url, got)
		}
		b.raw(`{"deviceUpdate":{"service":{"rootKeyPackageUrl":null}}}`, true)
	}
}
