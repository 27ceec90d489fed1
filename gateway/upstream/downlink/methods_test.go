package downlink

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
)

// fakeDaemon is what the link calls: it decides by topic, answers methods and records the audit.
type fakeDaemon struct {
	mu      sync.Mutex      // guards invoked and audited
	allowed map[string]bool // by topic
	invoked []string
	audited []message.AuditRecord
}

func (*fakeDaemon) Twin(string, []byte)         {}
func (*fakeDaemon) DesiredPatch(string, []byte) {}

func (h *fakeDaemon) Method(_ context.Context, device, name string, _ []byte) (int, []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.invoked = append(h.invoked, device+" "+name)
	return 200, nil
}

// A direct method reaches the device only if the link's principal may send the
// device a cloud-to-device message, and each decision is audited.
func TestMethodsAreDecided(t *testing.T) {
	h := &fakeDaemon{allowed: map[string]bool{"devices/d1/messages/devicebound/": true}}
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	as := &principal.Principal{Kind: principal.Upstream, Key: "upstream:iothub"}
	l, err := New(Options{
		Hub:      iothub.Options{Host: "hub", Gateway: iothub.Gateway{Device: "gw", Key: []byte("key")}},
		Topology: func() *device.Topology { return nil },
		As:       as,
		May: func(m *message.Message) message.Verdict {
			return message.Verdict{Allowed: m.Publisher == as && h.allowed[m.Topic], Reason: "asked"}
		},
		Twins: func() Twins { return h },
		Audit: func(r message.AuditRecord) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.audited = append(h.audited, r)
		},
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	l.method("d1", iothub.Method{Name: "reboot"})
	l.method("d2", iothub.Method{Name: "reboot"})
	l.working.Wait()
	if !slices.Equal(h.invoked, []string{"d1 reboot"}) {
		t.Errorf("invoked %q", h.invoked)
	}
	for _, r := range h.audited {
		if r.Event != "method" || r.Allowed != (r.ClientID == "d1") || r.Principal != as.Key || !r.Time.Equal(now) {
			t.Errorf("%+v", r)
		}
	}
	if len(h.audited) != 2 {
		t.Errorf("audited %d", len(h.audited))
	}
	// A hub that calls more than maxMethods at once gets an answer and starts nothing.
	for range maxMethods {
		l.methods <- struct{}{}
	}
	l.method("d1", iothub.Method{Name: "one too many"})
	l.working.Wait()
	if len(h.invoked) != 1 || len(h.audited) != 2 {
		t.Errorf("invoked %q", h.invoked)
	}
}
