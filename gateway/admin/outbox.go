package admin

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Outbox lets an operator list the messages that wait for upstream, and act on them.
type Outbox interface {
	List(ctx context.Context, q OutboxQuery) (OutboxReport, error)
	Peek(ctx context.Context, q OutboxQuery) ([]OutboxMessage, error)
	Parked(ctx context.Context, q OutboxQuery) ([]OutboxMessage, error)
	Act(ctx context.Context, r OutboxRequest) (OutboxResult, error)
}

// OutboxQuery selects the messages that match every field that is set. If no field is
// set, it selects all messages.
type OutboxQuery struct {
	Device string // an IoT Hub device id, or "key " and the principal key of a publisher that is no device
	Route  string
	Seq    uint64
	Limit  int
}

// OutboxReport sums up the messages that wait.
type OutboxReport struct {
	Routes  []OutboxPile `json:"routes"`
	Devices []OutboxPile `json:"devices"`
	Parked  int          `json:"parked"`
	Paused  bool         `json:"paused"` // sending is paused, of at least one device
}

// OutboxPile sums up the messages that wait on one route, or of one device.
type OutboxPile struct {
	Name     string    `json:"name"`
	Messages int       `json:"messages"`
	Bytes    int64     `json:"bytes"`
	Oldest   time.Time `json:"oldest,omitzero"` // when the oldest of them was accepted
	Paused   bool      `json:"paused,omitempty"`
}

// OutboxMessage is one message, without its payload.
type OutboxMessage struct {
	Seq      uint64    `json:"seq"`
	Device   string    `json:"device"`
	Route    string    `json:"route"`
	Topic    string    `json:"topic"` // to which it is published upstream
	Bytes    int64     `json:"bytes"`
	Accepted time.Time `json:"accepted,omitzero"`
	Sent     bool      `json:"sent,omitempty"` // it was sent, and upstream has not acknowledged it yet
	ParkedAt time.Time `json:"parkedAt,omitzero"`
	Reason   string    `json:"reason,omitempty"`
}

// The actions of OutboxRequest.
const (
	OutboxRetry  = "retry"  // offer parked messages to upstream again
	OutboxPurge  = "purge"  // forget messages that wait, or with Parked those that are parked
	OutboxPause  = "pause"  // send nothing of a device, or of all, until resume or a restart
	OutboxResume = "resume" // ends pause
	OutboxDrain  = "drain"  // resume all and lift outbox.replayRate until nothing waits
)

// OutboxRequest acts on the messages that match every field that is set. If neither Device,
// Route nor Seq is set, All must be, so that a forgotten field does not purge everything.
type OutboxRequest struct {
	Action string `json:"action"`
	Device string `json:"device,omitempty"`
	Route  string `json:"route,omitempty"`
	Seq    uint64 `json:"seq,omitempty"`
	All    bool   `json:"all,omitempty"`
	Parked bool   `json:"parked,omitempty"`
}

// OutboxResult says how many messages the action concerned.
type OutboxResult struct {
	Messages int `json:"messages"`
}

// check returns what is wrong with the request. It runs before anything is done.
func (r *OutboxRequest) check() error {
	selected := r.Device != "" || r.Route != "" || r.Seq != 0
	switch r.Action {
	case OutboxRetry, OutboxPurge:
		if !selected && !r.All {
			return errInput("selector", "nothing is selected", "name a device, a route or a number, or say all")
		}
		if selected && r.All {
			return errInput("all", "all messages and some of them are selected at once", "leave out all, or the others")
		}
	case OutboxPause, OutboxResume:
		if r.Route != "" || r.Seq != 0 || (r.Device == "") == !r.All {
			return errInput("device", "sending is paused by device, or for all", "name a device, or say all")
		}
	case OutboxDrain:
		if selected || r.Parked {
			return errInput("selector", "drain is for everything that waits, and resumes all",
				"leave out the device, the route, the number and parked")
		}
	default:
		return errInput("action", "\""+r.Action+"\" is no action", "write retry, purge, pause, resume or drain")
	}
	return nil
}

// How many messages one request may list. Waiting messages are fewer, because each
// is read from the disk; parked ones are in memory.
const (
	maxWaitingListed = 1000
	maxParkedListed  = 10000
)

func outboxQuery(r *http.Request, most int) (q OutboxQuery, err error) {
	v := r.URL.Query()
	q.Device, q.Route = v.Get("device"), v.Get("route")
	if q.Limit, err = number(v.Get("limit"), "limit", 100, most); err != nil {
		return q, err
	}
	if text := v.Get("seq"); text != "" {
		if q.Seq, err = strconv.ParseUint(text, 10, 64); err != nil || q.Seq == 0 {
			return q, errInput("seq", strconv.Quote(text)+" is no number of a message", "gatehousectl outbox peek and outbox parked print them")
		}
	}
	return q, nil
}

func (s *Server) outbox(w http.ResponseWriter, r *http.Request) error {
	q, err := s.outboxAsked(r, maxWaitingListed)
	if err != nil {
		return err
	}
	v, err := s.o.Sources.Outbox.List(r.Context(), q)
	return reply(w, v, err)
}

func (s *Server) outboxPeek(w http.ResponseWriter, r *http.Request) error {
	q, err := s.outboxAsked(r, maxWaitingListed)
	if err != nil {
		return err
	}
	v, err := s.o.Sources.Outbox.Peek(r.Context(), q)
	return replyList(w, v, err)
}

func (s *Server) outboxParked(w http.ResponseWriter, r *http.Request) error {
	q, err := s.outboxAsked(r, maxParkedListed)
	if err != nil {
		return err
	}
	v, err := s.o.Sources.Outbox.Parked(r.Context(), q)
	return replyList(w, v, err)
}

func (s *Server) outboxAsked(r *http.Request, most int) (OutboxQuery, error) {
	if s.o.Sources.Outbox == nil {
		return OutboxQuery{}, errNotPlugged("the outbox")
	}
	return outboxQuery(r, most)
}

func (s *Server) outboxAct(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Outbox == nil {
		return errNotPlugged("the outbox")
	}
	var in OutboxRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	v, err := s.o.Sources.Outbox.Act(r.Context(), in)
	return reply(w, v, err)
}
