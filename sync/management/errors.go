package management

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gatehouse/gatehouse/sync/wire"
)

// failure is an answer other than success: status, and the body that
// docs/spec/management-api.md 3.4 documents.
type failure struct {
	status  int
	code    string
	message string
}

func (f *failure) Error() string { return fmt.Sprintf("%d %s", f.status, f.message) }

func badRequest(format string, args ...any) error {
	return &failure{http.StatusBadRequest, "400.600.000.000", fmt.Sprintf(format, args...)}
}

func notFound(text string) error {
	return &failure{http.StatusNotFound, "404.600.000.000", text}
}

func gone() error {
	return &failure{http.StatusGone, "410.600.000.000", "The cursor cannot be continued. Read everything again."}
}

// rewritten is gone for a cursor of another history: this server was restored.
func rewritten() error {
	return &failure{http.StatusGone, wire.CodeHistory, "The cursor is of another history than this server's. Read everything again."}
}

func tooMany() error {
	return &failure{http.StatusTooManyRequests, "429.600.000.000", "The request has been throttled."}
}

// forbidden is a 403. Like that of the original service, its body does not say which
// right is missing.
func forbidden() error {
	return &failure{http.StatusForbidden, "403.600.000.001", "System error."}
}

// within names the member that the object of a refusal was in.
func within(member string, err error) error {
	f := asFailure(err)
	if f.status != http.StatusBadRequest {
		return err
	}
	return &failure{f.status, f.code, member + ": " + f.message}
}

// asFailure maps any error of a handler to an answer.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, wire.ErrInvalid) {
		return &failure{http.StatusBadRequest, "400.600.000.000", err.Error()}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &failure{http.StatusRequestEntityTooLarge, "413.600.000.000", "The body is too large."}
	}
	if errors.Is(err, ErrStore) {
		return &failure{http.StatusServiceUnavailable, "503.600.000.000", "The change could not be stored."}
	}
	return &failure{http.StatusInternalServerError, "500.600.000.000", "System error."}
}

func writeFailure(w http.ResponseWriter, f *failure) {
	type inner struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	switch f.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, f.status, struct {
		Error inner `json:"error"`
	}{inner{f.code, f.message}})
}

// writeUnauthorized answers 401 with a bare message: the original service's web
// framework sent it, and did not wrap it in "error" like the other failures.
func writeUnauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	writeJSON(w, http.StatusUnauthorized, map[string]string{"message": "Authorization has been denied for this request."})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the caller has gone, so it cannot be told
}
