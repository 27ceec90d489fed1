package load

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
)

// Habit is how a subscriber treats what it is sent.
type Habit uint8

// Reads reads and acknowledges at once and is accounted for; the others are
// what a broker must live with beside those.
const (
	Reads   Habit = iota
	Stops         // reads nothing more after the SUBACK
	Lingers       // acknowledges one message every 4 s
)

const linger = 4 * time.Second

// subscriber receives.
type subscriber struct {
	*client
	habit  Habit
	filter string
	only   int // the one publisher of this run from which it is to receive; below 0: all
	ready  chan error
	code   byte // of the SUBACK: the QoS that was granted

	// The reader's alone until it has ended:
	own    []track // of this run's publishers
	others map[uint64]*track
	echo   *echo // nil: nobody is answered

	received, unique, duplicated, reordered, foreign atomic.Int64

	mu    sync.Mutex
	owed  []uint16 // identifiers that a lingering one has not acknowledged; guarded by mu
	acked time.Time
}

func (s *subscriber) granted(f frame.Frame) error {
	code, err := granted(f)
	if err == nil && code >= 0x80 {
		err = &Refused{What: "the subscription to " + s.filter, Code: code, Level: s.l.level}
	}
	s.code = code
	select {
	case s.ready <- err:
	default:
	}
	return err
}

func (s *subscriber) publish(f frame.Frame) error {
	if s.habit == Stops {
		<-s.l.gone
		return errLeft
	}
	p, err := frame.ParsePublish(f, s.l.level, limits)
	if err != nil {
		return err
	}
	if s.habit == Lingers {
		if p.QoS > 0 {
			s.mu.Lock()
			s.owed = append(s.owed, p.ID)
			s.mu.Unlock()
			s.l.call()
		}
		return nil
	}
	switch p.QoS {
	case 1:
		s.frames = frame.AppendAck(s.frames, frame.PUBACK, p.ID, 0, s.l.level)
	case 2:
		s.frames = frame.AppendAck(s.frames, frame.PUBREC, p.ID, 0, s.l.level)
	}
	st, ok := parseStamp(p.Payload)
	if !ok {
		s.foreign.Add(1)
		return nil
	}
	if s.echo != nil {
		s.echo.answer(&p, st)
	}
	s.count(st)
	return nil
}

func (s *subscriber) count(st stamp) {
	x := s.x
	t, mine := s.track(st)
	if t == nil {
		s.foreign.Add(1)
		return
	}
	s.received.Add(1)
	switch t.see(st.seq) {
	case duplicated:
		s.duplicated.Add(1)
		return
	case reordered:
		s.reordered.Add(1)
	case inOrder:
	}
	s.unique.Add(1)
	if mine {
		x.pubs[st.publisher].receipt()
	}
	if end := now(); end >= x.mark.Load() && s.echo == nil {
		x.delivery.record(s.n, end-st.at)
	}
}

// track is where a message is counted; nil: it is from another run, and nobody waits for it here.
func (s *subscriber) track(st stamp) (t *track, mine bool) {
	x := s.x
	if st.run == x.id && int(st.publisher) < len(s.own) {
		if s.only >= 0 && s.only != int(st.publisher) {
			return nil, false
		}
		return &s.own[st.publisher], true
	}
	if len(x.pubs) > 0 {
		return nil, false
	}
	key := uint64(st.run)<<32 | uint64(st.publisher)
	if t = s.others[key]; t == nil {
		t = &track{}
		s.others[key] = t
	}
	return t, false
}

// produce gives what a lingering subscriber acknowledges now.
func (s *subscriber) produce(buf []byte) ([]byte, time.Duration) {
	if s.habit != Lingers {
		return buf, -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.owed) == 0 {
		return buf, -1
	}
	if wait := linger - time.Since(s.acked); wait > 0 {
		return buf, wait
	}
	s.acked = time.Now()
	buf = frame.AppendAck(buf, frame.PUBACK, s.owed[0], 0, s.l.level)
	s.owed = s.owed[1:]
	return buf, 0
}
