package hub

import (
	"fmt"
	"sort"
	"time"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
)

// Deployment is one update for one device, as the update service writes it
// into the twin (docs/spec/device-update.md 3.2).
type Deployment struct {
	ID                string
	Manifest          string // exact text
	Signature         string // compact JWS
	FileURLs          map[string]string
	RootKeyPackageURL string // "" leaves it out
}

// Sign makes the deployment of a development update.
func (h *Hub) Sign(id string, u manifesttest.Update, url string) (Deployment, error) {
	if h.o.Signer == nil {
		return Deployment{}, fmt.Errorf("%w: this hub has no signing keys", ErrInvalid)
	}
	text := u.Manifest()
	return Deployment{ID: id, Manifest: string(text), Signature: h.o.Signer.Sign(text), FileURLs: map[string]string{u.FileID: url}}, nil
}

func member(name string, v strictjson.Value) strictjson.Member {
	return strictjson.Member{Name: name, Value: v}
}

func (d Deployment) service(old strictjson.Value, retry strictjson.Value) strictjson.Value {
	// What an earlier deployment left is taken away with nulls, as the service does.
	urls := strictjson.ObjectValue()
	for _, m := range old.At("deviceUpdate", "service", "fileUrls").Members() {
		urls = urls.With(m.Name, strictjson.NullValue())
	}
	ids := make([]string, 0, len(d.FileURLs))
	for id := range d.FileURLs {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	for _, id := range ids {
		urls = urls.With(id, strictjson.StringValue(d.FileURLs[id]))
	}
	service := strictjson.ObjectValue(
		member("workflow", workflow(3, d.ID, retry)),
		member("updateManifest", strictjson.StringValue(d.Manifest)),
		member("updateManifestSignature", strictjson.StringValue(d.Signature)),
		member("fileUrls", urls))
	if d.RootKeyPackageURL != "" {
		service = service.With("rootKeyPackageUrl", strictjson.StringValue(d.RootKeyPackageURL))
	}
	return service
}

func component(service strictjson.Value) strictjson.Value {
	return strictjson.ObjectValue(member("deviceUpdate", strictjson.ObjectValue(
		member("__t", strictjson.StringValue("c")),
		member("service", service))))
}

func workflow(action int64, id string, retry strictjson.Value) strictjson.Value {
	return strictjson.ObjectValue(
		member("action", strictjson.IntValue(action)),
		member("id", strictjson.StringValue(id)),
		member("retryTimestamp", retry))
}

// Deploy creates a deployment: the desired property appears and the device is notified.
func (h *Hub) Deploy(id ID, d Deployment) (int64, error) {
	if err := h.known(id); err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entryOf(id)
	version, err := h.patchDesired(e, component(d.service(e.desired.Value, strictjson.NullValue())))
	if err == nil {
		e.deployment = &d
	}
	return version, err
}

// Retry repeats the last deployment of a device with a new timestamp.
func (h *Hub) Retry(id ID) (int64, error) {
	if err := h.known(id); err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entryOf(id)
	if e.deployment == nil {
		return 0, fmt.Errorf("%w: nothing has been deployed", ErrInvalid)
	}
	at := strictjson.StringValue(h.o.Now().UTC().Format(time.RFC3339Nano))
	return h.patchDesired(e, component(e.deployment.service(e.desired.Value, at)))
}

// Cancel does what the real service's base configuration does: whatever is
// current is to end; the id is the literal "nodeployment".
func (h *Hub) Cancel(id ID) (int64, error) {
	if err := h.known(id); err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	null := strictjson.NullValue()
	return h.patchDesired(h.entryOf(id), component(strictjson.ObjectValue(
		member("workflow", workflow(255, "nodeployment", null)),
		member("updateManifest", null), member("updateManifestSignature", null), member("fileUrls", null))))
}
