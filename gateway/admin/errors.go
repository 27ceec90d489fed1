package admin

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/gatehouse/gatehouse/gateway/printable"
)

// Error is the body of every answer that is a failure: what went wrong, where, and what
// to do next. A source returns one to choose the HTTP status and the words.
type Error struct {
	Status int    `json:"-"`
	What   string `json:"what"`
	Where  string `json:"where"`
	Next   string `json:"next"`
}

func (e *Error) Error() string {
	s := e.What
	if e.Where != "" {
		s = e.Where + ": " + s
	}
	if e.Next != "" {
		s += " (" + e.Next + ")"
	}
	return s
}

func errNotPlugged(what string) *Error {
	return &Error{
		Status: http.StatusNotImplemented,
		What:   "this gateway does not offer " + what,
		Where:  what,
		Next:   "use a build with that part, or look at /v1/health for why it is not running",
	}
}

func errInput(field, what, next string) *Error {
	return &Error{Status: http.StatusBadRequest, What: what, Where: field, Next: next}
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		if r.Context().Err() == nil {
			s.o.Log.Error("admin request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		e = &Error{
			Status: http.StatusInternalServerError,
			What:   err.Error(),
			Where:  r.URL.Path,
			Next:   "the daemon's log has the details: journalctl -u gatehoused",
		}
	}
	status := e.Status
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	if e.Where == "" {
		c := *e
		c.Where, e = r.URL.Path, &c
	}
	writeJSON(w, status, e)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // only our own types are written here, so that one does not marshal is a bug
		status, b = http.StatusInternalServerError,
			[]byte(`{"what":"the answer could not be written","where":"admin","next":"report this as a bug"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(printable.JSON(b), '\n')) // curl on a terminal shows it as it is
}
