package issuer

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gatehouse/gatehouse/device/space"
)

// fault is why a request is refused, as Entra says it: an OAuth 2.0 error code (RFC 6749 5.2) and the number of an
// AADSTS error, by which people look it up.
type fault struct {
	status int
	code   string
	number int
	text   string // for people; it never holds what the request sent as a secret
}

func (f *fault) Error() string { return f.text }

func bad(code string, number int, text string) *fault {
	return &fault{http.StatusBadRequest, code, number, text}
}

var noTenant = fault{http.StatusBadRequest, "invalid_request", 90002, "no such tenant here"}

func serverError(error) fault {
	return fault{http.StatusInternalServerError, "server_error", 90033, "the token could not be signed"}
}

func (i *Issuer) refuse(w http.ResponseWriter, r *http.Request, f fault) {
	now := i.o.Now().UTC().Format("2006-01-02 15:04:05Z")
	trace := space.NewID().String()
	correlation := trace
	if id, err := space.ParseID(r.Header.Get("client-request-id")); err == nil {
		correlation = id.String()
	}
	writeJSON(w, f.status, map[string]any{
		"error": f.code,
		"error_description": fmt.Sprintf("AADSTS%d: managementd: %s. Trace ID: %s Correlation ID: %s Timestamp: %s",
			f.number, f.text, trace, correlation, now),
		"error_codes":    []int{f.number},
		"timestamp":      now,
		"trace_id":       trace,
		"correlation_id": correlation,
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// random is a value that cannot be guessed: 256 bits, in hexadecimal.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// seconds is a duration as JSON number: az dies of an expires_in that is text (docs/spec/azure-today.md 0).
func seconds(d time.Duration) int { return int(d / time.Second) }
