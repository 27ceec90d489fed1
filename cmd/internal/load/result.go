package load

import (
	"math"
	"strings"
)

// Result is the account of a run. Counts are messages.
type Result struct {
	Publishers   int     `json:"publishers"`
	Subscribers  int     `json:"subscribers"`
	PayloadBytes int     `json:"payloadBytes"`
	Seconds      float64 `json:"seconds"` // that were measured: without the warm-up, up to the last publish

	Sent           int64 `json:"sent"`
	Acknowledged   int64 `json:"acknowledged"`   // QoS 1: PUBACK; QoS 2: PUBCOMP; without a code of 0x80 or above
	Refused        int64 `json:"refused"`        // answered with such a code
	Unacknowledged int64 `json:"unacknowledged"` // QoS 1 and 2: not answered when the run ended

	Expected   int64 `json:"expected"` // receipts, if nothing of what was sent is lost
	Received   int64 `json:"received"` // duplicates included
	Lost       int64 `json:"lost"`
	Duplicated int64 `json:"duplicated"`
	Reordered  int64 `json:"reordered"` // came after one that its publisher sent later
	Foreign    int64 `json:"foreign"`   // not from this run
	Stray      int64 `json:"stray"`     // acknowledgements that nothing waited for
	// LostAcknowledged is the part of Lost that the broker had acknowledged, for
	// subscriptions of QoS 1 and 2: nothing allows that.
	LostAcknowledged int64 `json:"lostAcknowledged"`

	Closed   int              `json:"closed"`   // connections that the run did not end itself
	Reasons  []string         `json:"reasons"`  // of the first few of them
	Refusals map[string]int64 `json:"refusals"` // by reason code

	SentRate     float64 `json:"sentPerSecond"`
	AckedRate    float64 `json:"acknowledgedPerSecond"`
	ReceivedRate float64 `json:"receivedPerSecond"`

	AckMicros      *Latency `json:"acknowledgementMicros,omitempty"` // PUBLISH to PUBACK or PUBCOMP
	DeliveryMicros *Latency `json:"deliveryMicros,omitempty"`        // PUBLISH of the publisher to receipt; with replies: the round trip
}

// Whole tells whether nothing acknowledged was lost.
func (r *Result) Whole() bool { return r.LostAcknowledged == 0 }

func (r *Result) closed(c *client, err error) {
	r.Closed++
	if len(r.Reasons) < 5 {
		r.Reasons = append(r.Reasons, c.who.ID+": "+err.Error())
	}
}

// account counts, once every client has ended.
func (r *run) account(res *Result) {
	res.Publishers, res.Subscribers = len(r.Publishers), len(r.Subscribers)
	res.Refusals, res.Reasons = map[string]int64{}, append([]string{}, res.Reasons...)
	promised := make([]func(seq uint32) bool, len(r.pubs))
	for i, p := range r.pubs {
		res.Sent += int64(p.seq.Load())
		res.Acknowledged += p.acked.Load()
		for code, n := range p.refusals {
			res.Refused += n
			res.Refusals[codeName(code, 5)] += n
		}
		if p.w != nil {
			res.Unacknowledged += int64(p.w.under())
			none := p.w.unpromised()
			promised[i] = func(seq uint32) bool { return !none[seq] }
		}
	}
	// A request's acknowledgement promises a reply only when the responder's publishes were taken over as well.
	answered := true
	for _, e := range r.echoes {
		answered = answered && e.acked.Load() == e.sent.Load()
	}
	for _, s := range r.subs {
		s.account(res, promised, answered)
	}
	for _, c := range r.clients {
		res.Stray += c.stray.Load()
	}
	res.AckMicros, res.DeliveryMicros = r.ack.latency(), r.delivery.latency()
}

func (s *subscriber) account(res *Result, promised []func(uint32) bool, answered bool) {
	res.Received += s.received.Load()
	res.Duplicated += s.duplicated.Load()
	res.Reordered += s.reordered.Load()
	res.Foreign += s.foreign.Load()
	for i := range s.own {
		if s.only >= 0 && s.only != i {
			continue
		}
		sent := s.x.pubs[i].seq.Load()
		res.Expected += int64(sent)
		lost := s.own[i].lost(sent)
		res.Lost += size(lost)
		if promised[i] == nil || s.code == 0 || !answered {
			continue
		}
		for _, span := range lost {
			for seq := span.lo; seq < span.hi && seq < math.MaxUint32; seq++ {
				if promised[i](seq) {
					res.LostAcknowledged++
				}
			}
		}
	}
	if strings.HasPrefix(s.filter, "$share/") { // what is missing here went to another member
		return
	}
	for _, t := range s.others {
		res.Expected += t.unique + t.gaps()
		res.Lost += t.gaps()
	}
}
