package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/printable"
)

// heartbeat is the pause between two lines without a record that a follower is sent. Without
// them neither end would notice, while there are no records, that the other one is gone.
const heartbeat = 15 * time.Second

// audit answers with the latest audit records, and with follow=true also with
// every new one: as server-sent events if the client asks for them (Accept:
// text/event-stream), otherwise as JSON lines.
func (s *Server) audit(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Audit == nil {
		return errNotPlugged("the audit")
	}
	q := r.URL.Query()
	follow := q.Get("follow") == "true"
	limit, err := number(q.Get("limit"), "limit", 100, 100000)
	if err != nil {
		return err
	}
	match := matcher(q.Get("principal"), q.Get("event"), q.Get("reason"), q.Get("denied") == "true")
	if !follow {
		return replyList(w, s.o.Sources.Audit(limit, match), nil)
	}
	if s.o.Sources.Follow == nil {
		return errNotPlugged("following the audit")
	}
	f := s.o.Sources.Follow() // before the latest records are read, so that none is missed in between
	defer f.Close()
	out := newStream(w, strings.Contains(r.Header.Get("Accept"), "text/event-stream"))
	past := s.o.Sources.Audit(limit, match)
	for _, rec := range past {
		out.record(rec)
	}
	out.flush()
	var last time.Time
	if len(past) > 0 {
		last = past[len(past)-1].Time
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for out.err == nil {
		select {
		case <-r.Context().Done():
			return nil
		case <-beat.C:
			out.beat()
		case rec, open := <-f.C():
			if !open {
				return nil
			}
			if n := f.Missed(); n > 0 {
				out.record(message.AuditRecord{
					Time:   rec.Time,
					Event:  "audit",
					Reason: "records-missed",
					Count:  n,
					Detail: "this follower was too slow",
				})
			}
			if match(&rec) && (rec.Time.After(last) || !contains(past, &rec)) {
				out.record(rec)
			}
			if len(f.C()) == 0 {
				out.flush()
			}
		}
	}
	return nil
}

func contains(past []message.AuditRecord, r *message.AuditRecord) bool {
	for i := range past {
		if past[i] == *r {
			return true
		}
	}
	return false
}

func matcher(principal, event, reason string, denied bool) func(*message.AuditRecord) bool {
	return func(r *message.AuditRecord) bool {
		return (principal == "" || strings.Contains(r.Principal, principal) || strings.Contains(r.ClientID, principal)) &&
			(event == "" || r.Event == event) &&
			(reason == "" || r.Reason == reason) &&
			(!denied || !r.Allowed)
	}
}

type stream struct {
	w   http.ResponseWriter
	c   *http.ResponseController
	sse bool
	err error
}

func newStream(w http.ResponseWriter, sse bool) *stream {
	kind := "application/jsonl"
	if sse {
		kind = "text/event-stream"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return &stream{w: w, c: http.NewResponseController(w), sse: sse}
}

func (s *stream) record(r message.AuditRecord) {
	b, err := json.Marshal(r)
	if err != nil {
		s.err = err
		return
	}
	b = printable.JSON(b)
	if s.sse {
		s.write("data: %s\n\n", b)
		return
	}
	s.write("%s\n", b)
}

func (s *stream) beat() {
	if s.sse {
		s.write(": alive\n\n")
	} else {
		s.write("\n")
	}
	s.flush()
}

// write fails, and so ends the stream, if the client does not read for 10 s.
func (s *stream) write(format string, args ...any) {
	if s.err == nil {
		_ = s.c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, s.err = fmt.Fprintf(s.w, format, args...)
	}
}

func (s *stream) flush() {
	if s.err == nil {
		_ = s.c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		s.err = s.c.Flush()
	}
}
