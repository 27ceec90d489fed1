package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

// The environment of a child of the power-cut test.
const (
	powerChildEnv    = "STORE_POWER_CHILD"    // the directory of its store
	powerFirstEnv    = "STORE_POWER_FIRST"    // the first number that it may use
	powerUnsyncedEnv = "STORE_POWER_UNSYNCED" // not empty: badger does not sync its commits
)

// powerChild opens the store, says all that is in it, and writes numbered
// records of every kind; it closes the store and begins again, until it dies. It
// writes lines to standard output, each before what follows from it is done:
//
//	have KIND KEY NUMBER   what a start has found
//	ready                  all of it was said
//	ack KIND KEY NUMBER    the store has acknowledged the record
//	drop KIND KEY          the record is about to be removed
//	dropped KIND KEY       the store has acknowledged the removal
//	failed REASON          something that no power cut may cause
func powerChild(dir string) {
	n, err := strconv.ParseUint(os.Getenv(powerFirstEnv), 10, 64)
	if err != nil {
		say("failed", "no first number:", err)
		os.Exit(3)
	}
	for {
		life := &powerLife{number: n}
		life.run(dir)
		n = life.number + 10
	}
}

func say(words ...any) { _, _ = os.Stdout.WriteString(fmt.Sprintln(words...)) }

// powerLife is one opening of the store.
type powerLife struct {
	s      *Store
	number uint64 // last one used
	found  []powerRecord
}

// powerRecord is a record that is removed at the next start.
type powerRecord struct {
	kind, key string
	remove    func(done func(error))
}

// die ends the child for an error after which it cannot go on. While the disk
// is down, every call fails so: what was acknowledged until then counts.
func die(what string, err error) {
	say("ended", what+":", err)
	os.Exit(0)
}

func (l *powerLife) run(dir string) {
	o := smallSegments()
	o.unsynced = os.Getenv(powerUnsyncedEnv) != ""
	s, err := Open(dir, o)
	if err != nil {
		die("open", err)
	}
	l.s = s
	for _, q := range s.Quarantined() {
		say("failed", "quarantined:", q.Store, q.Reason)
	}
	l.inventory()
	say("ready")
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	policy, first := make(chan struct{}), l.number
	go func() {
		defer close(policy)
		l.writePolicies(ctx, first)
	}()
	l.dropFound()
	l.saveSessions()
	l.writeRecords(200 + rand.IntN(600))
	cancel()
	<-policy
	<-ran
	if err := s.Close(); err != nil {
		die("close", err)
	}
}

// inventory says what is there, and notes what shall go.
func (l *powerLife) inventory() {
	v := l.s.Vault()
	box := l.s.Outbox()
	check("load the outbox", box.Load(func(q message.StoredOutgoing) error {
		l.have("outbox", strconv.FormatUint(q.Seq, 10), numberOf(q.Message.Payload), func(done func(error)) {
			box.Remove(q.Stream, []uint64{q.Seq}, done)
		})
		return nil
	}))
	check("load what is parked", box.Parked(func(p message.StoredParked) error {
		l.have("parked", strconv.FormatUint(p.Seq, 10), numberOf(p.Message.Payload), func(done func(error)) { box.Purge([]uint64{p.Seq}, done) })
		return nil
	}))
	check("load the sessions", v.LoadSessions(func(r message.StoredSession) error {
		n, _ := strconv.ParseUint(r.ClientID, 10, 64)
		l.have("session", r.Key, n, nil)
		for _, id := range r.InboundQoS2 {
			l.have("qos2", fmt.Sprintf("%s/%d", r.Key, id), 1, func(done func(error)) { v.Release(r.Key, id, done) })
		}
		return nil
	}))
	for i := range powerSessions {
		session := powerSession(uint64(i))
		check("load a queue", v.LoadQueue(session, func(q message.StoredDelivery) error {
			l.have("queue", fmt.Sprintf("%s/%d", session, q.Seq), numberOf(q.Message.Payload), func(done func(error)) {
				v.Dequeue(session, []uint64{q.Seq}, done)
			})
			return nil
		}))
	}
	check("load what is retained", v.LoadRetained(func(m *message.Message) error {
		l.have("retained", m.Topic, numberOf(m.Payload), nil)
		return nil
	}))
	check("load the wills", v.LoadWills(func(w message.StoredWill) error {
		l.have("will", strconv.FormatUint(w.ID, 10), numberOf(w.Payload), func(done func(error)) { v.DeleteWill(w.ID, done) })
		return nil
	}))
	check("load the journal", l.s.Bucket("journal").Load(func(key string, value []byte) error {
		l.have("journal", key, numberOf(value), nil)
		return nil
	}))
	switch g, err := l.s.Cache().Load(context.Background()); {
	case err == nil:
		l.have("policy", "head", g.Version.Number, nil)
	case !errors.Is(err, ErrEmpty):
		say("failed", "the policy cannot be read:", err)
	}
	if t := l.s.Cache().HighWater().Time; !t.IsZero() {
		l.have("clock", "mark", uint64(t.Unix()), nil)
	}
	if reason, dirty := l.s.Cache().Dirty(); dirty {
		n, _ := strconv.ParseUint(reason, 10, 64)
		l.have("dirty", "mark", n, nil)
	}
}

func check(what string, err error) {
	if err != nil {
		die(what, err)
	}
}

func (l *powerLife) have(kind, key string, n uint64, remove func(done func(error))) {
	say("have", kind, key, n)
	if remove != nil {
		l.found = append(l.found, powerRecord{kind, key, remove})
	}
}

func (l *powerLife) dropFound() {
	for _, r := range l.found {
		say("drop", r.kind, r.key)
		r.remove(func(err error) {
			if err == nil {
				say("dropped", r.kind, r.key)
			}
		})
	}
}

// numbered is a payload that says its number and can be told from a damaged
// one. Every eighth is large, so that badger's log fills within one opening and
// the next one begins.
func numbered(n uint64) []byte {
	head := strconv.FormatUint(n, 10)
	size := 40
	if n%8 == 0 {
		size = 512 << 10
	}
	return []byte(head + strings.Repeat(":", size))
}

// numberOf is 0 for a payload that is not whole.
func numberOf(payload []byte) uint64 {
	head, _, _ := strings.Cut(string(payload), ":")
	n, err := strconv.ParseUint(head, 10, 64)
	if err != nil || string(numbered(n)) != string(payload) {
		say("failed", "a damaged payload of", len(payload), "bytes")
		return 0
	}
	return n
}

// writeRecords submits count records, some of them at the same time, and
// returns when all are acknowledged.
func (l *powerLife) writeRecords(count int) {
	const window = 64
	free := make(chan struct{}, window)
	for range count {
		free <- struct{}{}
		l.number++
		kind, key, n, write := l.record(l.number)
		write(func(err error) {
			if err == nil {
				say("ack", kind, key, n)
			}
			<-free
		})
	}
	for range window {
		free <- struct{}{}
	}
}

const powerSessions = 3

func powerSession(n uint64) string { return fmt.Sprintf("s%d", n%powerSessions) }

func (l *powerLife) saveSession(key string, n uint64, done func(error)) {
	l.s.Vault().SaveSession(message.StoredSession{Key: key, ClientID: strconv.FormatUint(n, 10), Principal: testPublisher, Version: 5}, done)
}

// saveSessions saves each session first: what it has received is loaded with it.
func (l *powerLife) saveSessions() {
	for i := range powerSessions {
		l.number++
		saved := make(chan error, 1)
		l.saveSession(powerSession(uint64(i)), l.number, func(err error) { saved <- err })
		check("save a session", <-saved)
	}
}

// record is the record of number n: what the ledger calls it, and how it is written.
func (l *powerLife) record(n uint64) (kind, key string, number uint64, write func(done func(error))) {
	v := l.s.Vault()
	session := powerSession(n / 9)
	m := testMessage(n, string(numbered(n)))
	seq := strconv.FormatUint(n, 10)
	switch n % 9 {
	case 0:
		return "session", session, n, func(done func(error)) {
			l.saveSession(session, n, done)
		}
	case 1, 2:
		return "queue", session + "/" + seq, n, func(done func(error)) {
			v.Enqueue(session, message.StoredDelivery{Seq: n, Message: m, QoS: 1}, done)
		}
	case 3:
		id := uint16(n) //nolint:gosec // shall wrap
		return "qos2", fmt.Sprintf("%s/%d", session, id), 1, func(done func(error)) { v.Receive(session, id, done) }
	case 4:
		m.Topic = fmt.Sprintf("retained/%d", n/9%5)
		return "retained", m.Topic, n, func(done func(error)) { v.Retain(m, done) }
	case 5:
		return "will", seq, n, func(done func(error)) {
			v.SaveWill(message.StoredWill{ID: n, Session: session, Principal: testPublisher, Topic: "w", Payload: numbered(n)}, done)
		}
	case 6:
		k := fmt.Sprintf("k%d", n/9%7)
		return "journal", k, n, func(done func(error)) { l.s.Bucket("journal").Put(k, numbered(n), done) }
	case 7:
		return "parked", seq, n, func(done func(error)) {
			q := ofThree(m)
			l.s.Outbox().Append(q, nil)
			l.s.Outbox().Park(message.StoredParked{StoredOutgoing: q, At: time.Unix(1, 0), Reason: "test"}, done)
		}
	default:
		return "outbox", seq, n, func(done func(error)) { l.s.Outbox().Append(ofThree(m), done) }
	}
}

// ofThree is m as one of three devices sends it.
func ofThree(m *message.Message) message.StoredOutgoing {
	m.Via.Device = fmt.Sprintf("d%d", m.ID/9%3)
	return message.StoredOutgoing{Stream: message.StreamOf(m, "r"), Seq: m.ID, Size: int64(len(m.Payload)), Route: "r", Topic: "t", Message: m}
}

// writePolicies writes generations, changes of them, and the two marks beside them.
func (l *powerLife) writePolicies(ctx context.Context, n uint64) {
	c := l.s.Cache()
	acked := func(err error, kind, key string, n uint64) bool {
		if err != nil {
			return false
		}
		say("ack", kind, key, n)
		return true
	}
	for ctx.Err() == nil {
		n++
		mark := offline.Stamp{Time: time.Unix(int64(n), 0)} //nolint:gosec // small numbers
		if !acked(c.RaiseHighWater(mark, time.Time{}), "clock", "mark", n) {
			return
		}
		if !acked(c.MarkDirty(strconv.FormatUint(n, 10)), "dirty", "mark", n) {
			return
		}
		say("drop", "dirty", "mark")
		g := generation.Full{Version: model.Version{Epoch: 1, Number: n}, Registry: testData(30)}
		if !acked(c.WriteGeneration(ctx, g), "policy", "head", n) {
			return
		}
		from := g.Version
		for range 3 {
			n++
			to := model.Version{Epoch: 1, Number: n}
			d := generation.Delta{Policy: model.ChangeSet{From: from, To: to}, Registry: device.Changes{PutDevices: testData(2).Devices}}
			if !acked(c.WriteDelta(ctx, d), "policy", "head", n) {
				return
			}
			from = to
		}
	}
}
