package hub

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
)

// Handler is a small back end over HTTP, for the smoke test and for people
// with curl. It authenticates nobody: mount it on loopback only.
//
//	GET   /hub/telemetry?since=&device=&limit=    {"total","counts","messages"}
//	GET   /hub/twins/{device}                     the twin
//	PATCH /hub/twins/{device}/desired             merge patch → {"version"}
//	POST  /hub/twins/{device}/methods/{name}      body is the payload → {"status","payload"}
//	POST  /hub/twins/{device}/messages            cloud-to-device, body is the payload
//	POST  /hub/twins/{device}/deployments         {"id","version","url","tamper"} → {"version"}
//	POST  /hub/twins/{device}/deployments/cancel, …/retry
//
// Each takes ?module= for a module.
func (h *Hub) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /hub/telemetry", h.getTelemetry)
	m.HandleFunc("GET /hub/twins/{device}", func(w http.ResponseWriter, r *http.Request) {
		d, err := h.Twin(idOf(r))
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(d.Body()) //nolint:gosec // JSON under its own content type
	})
	m.HandleFunc("PATCH /hub/twins/{device}/desired", h.patch)
	m.HandleFunc("POST /hub/twins/{device}/methods/{name}", h.postMethod)
	m.HandleFunc("POST /hub/twins/{device}/messages", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 128<<10))
		if err == nil {
			err = h.SendC2D(idOf(r), body, nil)
		}
		reply(w, map[string]any{}, err)
	})
	m.HandleFunc("POST /hub/twins/{device}/deployments", h.postDeployment)
	m.HandleFunc("POST /hub/twins/{device}/deployments/cancel", func(w http.ResponseWriter, r *http.Request) {
		v, err := h.Cancel(idOf(r))
		reply(w, map[string]any{"version": v}, err)
	})
	m.HandleFunc("POST /hub/twins/{device}/deployments/retry", func(w http.ResponseWriter, r *http.Request) {
		v, err := h.Retry(idOf(r))
		reply(w, map[string]any{"version": v}, err)
	})
	return m
}

func idOf(r *http.Request) ID { return ID{r.PathValue("device"), r.URL.Query().Get("module")} }

func (h *Hub) getTelemetry(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	since, _ := strconv.ParseUint(q.Get("since"), 10, 64)
	limit, _ := strconv.Atoi(q.Get("limit"))
	messages, _ := h.TelemetrySince(since, q.Get("device"), limit)
	total, counts := h.Counts()
	if messages == nil {
		messages = []Telemetry{}
	}
	reply(w, map[string]any{"total": total, "counts": counts, "messages": messages}, nil)
}

func (h *Hub) patch(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 128<<10))
	var patch strictjson.Value
	if err == nil {
		patch, err = strictjson.Parse(body, strictjson.Limits{})
	}
	var v int64
	if err == nil {
		v, err = h.PatchDesired(idOf(r), patch)
	}
	reply(w, map[string]any{"version": v}, err)
}

func (h *Hub) postMethod(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 256<<10))
	if err != nil {
		fail(w, err)
		return
	}
	timeout, _ := time.ParseDuration(r.URL.Query().Get("timeout"))
	status, payload, err := h.Invoke(r.Context(), idOf(r), r.PathValue("name"), body, timeout)
	answer := map[string]any{"status": status, "payload": string(payload)}
	if json.Valid(payload) {
		answer["payload"] = json.RawMessage(payload)
	}
	reply(w, answer, err)
}

func (h *Hub) postDeployment(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ID, Version, URL, Manufacturer, Model string
		Tamper                                bool // change one byte of the manifest after signing
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil {
		fail(w, err)
		return
	}
	d, err := h.Sign(in.ID, DemoUpdate(in.Version, in.Manufacturer, in.Model, h.o.Now()), in.URL)
	if err != nil {
		fail(w, err)
		return
	}
	if in.Tamper {
		d.Manifest = Tamper(d.Manifest)
	}
	v, err := h.Deploy(idOf(r), d)
	reply(w, map[string]any{"version": v}, err)
}

// DemoUpdate is a small firmware update of a demo device.
func DemoUpdate(version, manufacturer, model string, created time.Time) manifesttest.Update {
	return manifesttest.Update{
		ID:           manifest.UpdateID{Provider: manufacturer, Name: model, Version: version},
		Manufacturer: manufacturer,
		Model:        model,
		FileID:       "f4a7e1c09b2d6358",
		FileName:     "firmware-" + version + ".bin",
		Content:      []byte("firmware " + version),
		Created:      created.UTC().Format(time.RFC3339Nano),
	}
}

// Tamper changes one byte inside a manifest so that it stays well-formed.
func Tamper(text string) string {
	b := []byte(text)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] >= '0' && b[i] <= '8' {
			b[i]++
			break
		}
	}
	return string(b)
}

func reply(w http.ResponseWriter, body any, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}

func fail(w http.ResponseWriter, err error) {
	code := http.StatusBadRequest
	switch {
	case errors.Is(err, ErrUnknown):
		code = http.StatusNotFound
	case errors.Is(err, ErrNotConnected):
		code = http.StatusConflict
	case errors.Is(err, ErrTimeout):
		code = http.StatusGatewayTimeout
	}
	http.Error(w, err.Error(), code)
}
