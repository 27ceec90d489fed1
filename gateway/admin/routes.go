package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/message"
)

type handler func(s *Server, w http.ResponseWriter, r *http.Request) error

// routes is the whole API.
var routes = []struct {
	method, path string
	needs        Permission
	handle       handler
}{
	{"GET", "/v1/version", Read, (*Server).version},
	{"GET", "/v1/status", Read, (*Server).status},
	{"GET", "/v1/health", Read, (*Server).health},
	{"GET", "/v1/sessions", Read, (*Server).sessions},
	{"GET", "/v1/explain", Read, (*Server).explain},
	{"GET", "/v1/assignments", Read, (*Server).assignments},
	{"GET", "/v1/spaces", Read, (*Server).spaces},
	{"GET", "/v1/who-can", Read, (*Server).whoCan},
	{"GET", "/v1/what-can", Read, (*Server).whatCan},
	{"GET", "/v1/audit", Read, (*Server).audit},
	{"GET", "/v1/config", Read, (*Server).config},
	{"GET", "/v1/doctor", Read, (*Server).doctor},
	{"GET", "/v1/remotes", Read, (*Server).remotes},
	{"GET", "/v1/outbox", Read, (*Server).outbox},
	{"GET", "/v1/outbox/messages", Read, (*Server).outboxPeek},
	{"GET", "/v1/outbox/parked", Read, (*Server).outboxParked},
	{"POST", "/v1/outbox", Operate, (*Server).outboxAct},
	{"POST", "/v1/echo", Operate, (*Server).echo},
	{"POST", "/v1/sync", Operate, (*Server).sync},
	{"POST", "/v1/disconnect", Operate, (*Server).disconnect},
	{"POST", "/v1/reset-clock", Operate, (*Server).resetClock},
}

// mux serves the routes that need at most the given permission.
func (s *Server) mux(most Permission) *http.ServeMux {
	m := http.NewServeMux()
	for _, rt := range routes {
		if rt.needs > most {
			continue
		}
		m.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) {
			c := caller(r)
			if c.May < rt.needs {
				if rt.needs >= Operate {
					s.record(c, r, false)
				}
				s.fail(w, r, &Error{
					Status: http.StatusForbidden,
					What:   c.Name + " may look, but not change anything",
					Where:  r.URL.Path,
					Next:   "run this as root or as the daemon's user, or add the user id to admin.operators",
				})
				return
			}
			if rt.needs >= Operate {
				s.record(c, r, true)
			}
			r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
			if err := rt.handle(s, w, r); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	m.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &Error{
			Status: http.StatusNotFound,
			What:   "there is nothing at " + r.Method + " " + r.URL.Path,
			Next:   "gatehousectl --help lists what there is",
		})
	})
	return m
}

func (s *Server) record(c Caller, r *http.Request, allowed bool) {
	rec := message.AuditRecord{
		Event:     "admin",
		Allowed:   allowed,
		Principal: c.Name,
		Topic:     r.Method + " " + r.URL.Path,
		Reason:    "operator",
	}
	if !allowed {
		rec.Reason = "not-operator"
	}
	s.o.Audit(rec)
}

func (s *Server) version(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Status == nil {
		return errNotPlugged("status")
	}
	st, err := s.o.Sources.Status(r.Context())
	if err == nil {
		writeJSON(w, http.StatusOK, st.Build)
	}
	return err
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Status == nil {
		return errNotPlugged("status")
	}
	v, err := s.o.Sources.Status(r.Context())
	return reply(w, v, err)
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Health == nil {
		return errNotPlugged("health")
	}
	v, err := s.o.Sources.Health(r.Context())
	return reply(w, v, err)
}

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Sessions == nil {
		return errNotPlugged("sessions")
	}
	q := r.URL.Query()
	limit, err := number(q.Get("limit"), "limit", 1000, 100000)
	if err != nil {
		return err
	}
	v, err := s.o.Sources.Sessions(r.Context(), SessionQuery{
		Principal: q.Get("principal"),
		Connected: q.Get("connected") == "true",
		Limit:     limit,
	})
	return replyList(w, v, err)
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Explain == nil {
		return errNotPlugged("explain")
	}
	q, err := question(r)
	if err != nil {
		return err
	}
	if q.Principal == "" {
		return errInput("principal", "nobody is named to decide about", "name a device id, or a key as gatehousectl sessions prints it")
	}
	v, err := s.o.Sources.Explain(r.Context(), q)
	return reply(w, v, err)
}

func (s *Server) whoCan(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.WhoCan == nil {
		return errNotPlugged("who-can")
	}
	q, err := question(r)
	if err != nil {
		return err
	}
	v, err := s.o.Sources.WhoCan(r.Context(), q)
	return replyList(w, v, err)
}

func (s *Server) whatCan(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.WhatCan == nil {
		return errNotPlugged("what-can")
	}
	p := r.URL.Query().Get("principal")
	if p == "" {
		return errInput("principal", "nobody is named", "name a device id, or a key as gatehousectl sessions prints it")
	}
	v, err := s.o.Sources.WhatCan(r.Context(), p)
	return replyList(w, v, err)
}

func (s *Server) assignments(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Assignments == nil {
		return errNotPlugged("assignments")
	}
	q := r.URL.Query()
	v, err := s.o.Sources.Assignments(r.Context(), AssignmentQuery{
		Path:      q.Get("path"),
		Down:      strings.EqualFold(q.Get("traverse"), "down"),
		Principal: q.Get("principal"),
	})
	return replyList(w, v, err)
}

func (s *Server) spaces(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Spaces == nil {
		return errNotPlugged("the spaces")
	}
	v, err := s.o.Sources.Spaces(r.Context())
	return replyList(w, v, err)
}

func (s *Server) config(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Config == nil {
		return errNotPlugged("the configuration")
	}
	b, err := s.o.Sources.Config(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b)
	return nil
}

func (s *Server) doctor(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Doctor == nil {
		return errNotPlugged("doctor")
	}
	v, err := s.o.Sources.Doctor(r.Context())
	return replyList(w, v, err)
}

func (s *Server) remotes(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Remotes == nil {
		return errNotPlugged("its remotes")
	}
	v, err := s.o.Sources.Remotes(r.Context())
	return reply(w, v, err)
}

func (s *Server) echo(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Echo == nil {
		return errNotPlugged("an echo")
	}
	v, err := s.o.Sources.Echo(r.Context())
	return reply(w, v, err)
}

func (s *Server) sync(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Sync == nil {
		return errNotPlugged("sync")
	}
	var in SyncRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	v, err := s.o.Sources.Sync(r.Context(), in)
	return reply(w, v, err)
}

func (s *Server) disconnect(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.Disconnect == nil {
		return errNotPlugged("disconnect")
	}
	var in DisconnectRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	if (in.Session == "") == (in.Principal == "") {
		return errInput("session", "name a session or a principal, one of the two", "gatehousectl sessions lists both")
	}
	v, err := s.o.Sources.Disconnect(r.Context(), in)
	return reply(w, v, err)
}

func (s *Server) resetClock(w http.ResponseWriter, r *http.Request) error {
	if s.o.Sources.ResetClock == nil {
		return errNotPlugged("the clock")
	}
	v, err := s.o.Sources.ResetClock(r.Context())
	return reply(w, v, err)
}

func question(r *http.Request) (Question, error) {
	v := r.URL.Query()
	q := Question{
		Principal: v.Get("principal"),
		Verb:      v.Get("verb"),
		Topic:     v.Get("topic"),
		Operation: v.Get("operation"),
		At:        v.Get("at"),
	}
	switch {
	case q.Verb != "" && q.Operation != "":
		return q, errInput("verb", "asks for an MQTT operation and for another one at once", "give verb and topic, or operation and at")
	case q.Verb == "" && q.Operation == "":
		return q, errInput("operation", "nothing is asked",
			"give verb (connect, publish, subscribe, will, receive) with topic, or operation with at")
	case q.Verb != "" && !IsVerb(q.Verb):
		return q, errInput("verb", strconv.Quote(q.Verb)+" is no MQTT operation", "write connect, publish, subscribe, will or receive")
	case q.Verb != "" && q.Verb != "connect" && q.Topic == "":
		return q, errInput("topic", "is missing", "name the topic or filter")
	case q.Operation != "" && q.At == "":
		return q, errInput("at", "is missing", "name a space path, a device id, or an ARM scope")
	}
	return q, nil
}

// decode reads a JSON body strictly; an empty body is the zero request.
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, extra := d.Token(); !errors.Is(extra, io.EOF) {
			err = errors.New("text after the JSON document")
		}
	} else if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return errInput("body", "is not the JSON document expected here: "+err.Error(), "see gatehousectl for a client that writes it")
	}
	return nil
}

func number(s, field string, missing, most int) (int, error) {
	if s == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, errInput(field, strconv.Quote(s)+" is no number from 1 to "+strconv.Itoa(most), "leave it out for "+strconv.Itoa(missing))
	}
	return n, nil
}

func reply(w http.ResponseWriter, v any, err error) error {
	if err == nil {
		writeJSON(w, http.StatusOK, v)
	}
	return err
}

// replyList writes an empty list as [], never as null, which clients would have to tell apart.
func replyList[T any](w http.ResponseWriter, v []T, err error) error {
	if v == nil {
		v = []T{}
	}
	return reply(w, v, err)
}
