package session

import (
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// nowhere is a vault that stores nothing.
type nowhere struct {
	Sessions
	Queues
}

func (nowhere) SaveSession(message.StoredSession, func(error))      {}
func (nowhere) DeleteSession(string, func(error))                   {}
func (nowhere) Enqueue(string, message.StoredDelivery, func(error)) {}
func (nowhere) Update(string, message.StoredDelivery, func(error))  {}
func (nowhere) Dequeue(_ string, _ []uint64, _ func(error))         {}

type noIndex struct{}

func (noIndex) Add(_, _ *Sub)  {}
func (noIndex) Remove(...*Sub) {}

// says is a Rights that only answers Connect.
type says struct {
	Rights
	v message.Verdict
}

func (s says) Connect() message.Verdict { return s.v }

func open(st *Store, node byte, allow bool) (Opened, *principal.Principal) {
	p := &principal.Principal{Kind: principal.Device, Key: "device:d1", DeviceID: "d1"}
	p.Node[0] = node
	return st.Open(Request{Principal: p, Rights: says{}, ClientID: "d1", Persistent: true, Expiry: time.Hour, Conn: new(int),
		Allow: func(*Sub) bool { return allow }}), p
}

// A device whose record was deleted and made again under the same name resumes no session of the
// first one, even if its deletion was never noticed here.
func TestAnotherRecordOfTheNameResumesNothing(t *testing.T) {
	st := NewStore(Config{Sessions: nowhere{}, Queues: nowhere{}, Index: noIndex{}})
	first, _ := open(st, 1, true)
	if again, _ := open(st, 1, true); !again.Present || again.Session != first.Session {
		t.Error("the same record does not resume")
	}
	other, _ := open(st, 2, true)
	if other.Present || other.Session == first.Session || other.Discarded != first.Session {
		t.Errorf("another record resumes: %+v", other)
	}
}

// An offline session loses nothing because its client's credential has expired.
func TestExpiryTakesNothingFromASessionThatWaits(t *testing.T) {
	for reason, suspended := range map[string]bool{Expired: false, "not-active": true} {
		st := NewStore(Config{Sessions: nowhere{}, Queues: nowhere{}, Index: noIndex{}})
		o, _ := open(st, 1, true)
		s := o.Session
		s.subs["f"] = NewSub(s, message.Subscription{Filter: "f"}, topic.Subscription{Filter: "f"})
		s.claim, s.rights = nil, says{v: message.Verdict{Reason: reason}}
		c := s.Recheck(func(*principal.Principal) bool { return true }, time.Now(), func(*Sub) bool { return true })
		if got := len(c.Suspended) > 0; got != suspended {
			t.Errorf("%s: suspended %v", reason, got)
		}
	}
}

// There are no more sessions than may be, of one principal and of all; those that exist
// are resumed, and one that ends makes place for another one.
func TestSessionsAreCounted(t *testing.T) {
	st := NewStore(Config{Sessions: nowhere{}, Queues: nowhere{}, Index: noIndex{}, AllSessions: 4, MaxSessions: 2, QueueMessages: 1})
	has := func(owner, client string) *Session {
		return st.Open(Request{
			Principal:  &principal.Principal{Key: owner},
			Rights:     says{},
			ClientID:   client,
			Persistent: true,
			Conn:       new(int),
			Allow:      func(*Sub) bool { return true },
		}).Session
	}
	first := has("user:a", "1")
	if first == nil || has("user:a", "2") == nil || has("user:a", "3") != nil {
		t.Error("not two sessions of one principal")
	}
	if has("user:b", "1") == nil || has("user:c", "1") == nil || has("user:d", "1") != nil || st.Len() != 4 {
		t.Errorf("%d sessions, not four", st.Len())
	}
	if has("user:a", "1") != first {
		t.Error("it is not resumed")
	}
	st.EndIf(first, time.Time{})
	if has("user:d", "1") == nil {
		t.Error("no place after one has ended")
	}
}
