package update

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// ErrOffline is Cloud's answer when the real service cannot be reached.
var ErrOffline = errors.New("the update service cannot be reached")

// Request is a local action: from a deviceupdate/ topic or the REST API.
type Request struct {
	Device string
	// Deployment is the deployment id; unused by Get.
	Deployment string
	Action     Action
	Who        Initiator
	Body       []byte // of create: {"update":{"updateId":{"provider","name","version"}}}
}

// Answer is what the requesting session gets.
type Answer struct {
	Status int // as of HTTP
	Body   []byte
}

func refusal(status int, code, message string) Answer {
	body, _ := json.Marshal(map[string]any{"error": map[string]string{"code": code, "message": message}})
	return Answer{status, body}
}

// Local answers a local action. It is authorised first; then the cloud does it
// if it can be reached, else this gateway does what it can on its own.
func (g *Guard) Local(ctx context.Context, r Request) (Answer, error) {
	question := r.Action
	if s := g.State(r.Device); r.Action == Cancel && s.active() != nil && s.active().ID == r.Deployment && !s.waits(r.Deployment) {
		question = CancelReleased
	}
	a := g.o.Authorizer.May(ctx, r.Who, question, r.Device)
	if !a.Allowed {
		g.o.Audit(g.note(r.Device, Note{
			Detail: a.Detail,
			Deployment: Deployment{
				Action: r.Action,
				ID:     r.Deployment,
				Phase:  Refused,
				Reason: a.Reason,
				Who:    r.Who,
			},
		}))
		if a.Hold {
			return refusal(http.StatusServiceUnavailable, a.Reason, "this cannot be decided now"), nil
		}
		return refusal(http.StatusForbidden, "Forbidden", "not authorised"), nil
	}
	if g.o.Cloud != nil {
		answer, err := g.o.Cloud.Forward(ctx, r)
		if !errors.Is(err, ErrOffline) {
			return answer, err
		}
	}
	switch r.Action {
	case Get:
		return g.status(r.Device)
	case Create:
		return g.localCreate(ctx, r)
	case Cancel:
		return g.localCancel(ctx, r)
	case Retry:
		return g.localRetry(ctx, r)
	}
	return refusal(http.StatusBadRequest, "BadRequest", "unknown action"), nil
}

func (g *Guard) localCreate(ctx context.Context, r Request) (Answer, error) {
	if g.o.Updates == nil {
		return refusal(http.StatusServiceUnavailable, "NoUpdateStore",
			"the update service cannot be reached and this gateway keeps no updates"), nil
	}
	// A body that cannot be read names no update.
	v, _ := strictjson.Parse(r.Body, strictjson.Limits{Bytes: 64 << 10})
	id := v.At("update", "updateId")
	p, ok1 := id.Get("provider").Str()
	n, ok2 := id.Get("name").Str()
	w, ok3 := id.Get("version").Str()
	if !ok1 || !ok2 || !ok3 {
		return refusal(http.StatusBadRequest, "BadRequest", "update.updateId needs provider, name and version"), nil
	}
	if !deploymentID(r.Deployment) {
		return refusal(http.StatusBadRequest, "BadRequest", "the deployment id is not one that the service would take"), nil
	}
	s, ok := g.o.Updates.Find(ctx, p+"/"+n+"/"+w)
	if !ok {
		return refusal(http.StatusNotFound, "UpdateNotFound", "the update is not in this gateway's store"), nil
	}
	s.Cancel, s.ID, s.Retry = false, r.Deployment, ""
	return g.localOffer(ctx, r, s)
}

// deploymentID tells whether the service would accept the text as the id of a
// deployment (docs/spec/device-update.md 2.2), and whether it differs from the
// id that stands for no deployment.
func deploymentID(id string) bool {
	return id != "" && len(id) <= 73 && plain(id) && !strings.ContainsAny(id, "& ^[]{}|<>/\\\"") && !strings.EqualFold(id, noDeployment)
}

func (g *Guard) localCancel(ctx context.Context, r Request) (Answer, error) {
	s := g.State(r.Device)
	pending := s.waits(r.Deployment)
	current := s.active() != nil && s.active().ID == r.Deployment
	if !pending && !current {
		return refusal(http.StatusNotFound, "DeploymentNotFound", "no such deployment is waiting or in progress"), nil
	}
	return g.localOffer(ctx, r, Service{Cancel: true, ID: r.Deployment})
}

func (g *Guard) localRetry(ctx context.Context, r Request) (Answer, error) {
	s := g.State(r.Device)
	if s.Current == nil || s.Current.ID != r.Deployment {
		return refusal(http.StatusNotFound, "DeploymentNotFound", "the device has no such deployment"), nil
	}
	service, err := ParseService(s.Current.Service)
	if err != nil {
		return Answer{}, err
	}
	service.Retry = g.o.Now().UTC().Format(time.RFC3339Nano)
	return g.localOffer(ctx, r, service)
}

// localOffer judges a service that this gateway has made like one from the hub,
// and has the device's view computed again.
func (g *Guard) localOffer(ctx context.Context, r Request, s Service) (Answer, error) {
	d := g.device(r.Device)
	d.mu.Lock()
	t := &turn{device: r.Device}
	err := g.apply(ctx, d, t, Offer{Now: g.o.Now(), Version: d.state.Version, Service: s, Who: r.Who})
	state := d.state
	d.mu.Unlock()
	if err != nil {
		return Answer{}, err
	}
	if f := state.Declined; f != nil && f.ID == s.ID {
		return refusal(http.StatusConflict, f.Reason, "refused"), nil
	}
	g.o.Recheck(r.Device)
	return g.status(r.Device)
}

// status is what this gateway knows of a device, in the shape of the service's own Get device.
func (g *Guard) status(device string) (Answer, error) {
	s := g.State(device)
	type updateInfo struct {
		UpdateID string `json:"updateId"`
	}
	out := struct {
		DeviceID         string      `json:"deviceId"`
		DeploymentStatus string      `json:"deploymentStatus,omitempty"`
		LastDeployment   string      `json:"lastDeploymentId,omitempty"`
		LastAttempted    *updateInfo `json:"lastAttemptedUpdate,omitempty"`
		Installed        *updateInfo `json:"installedUpdate,omitempty"`
		Phase            Phase       `json:"gatewayPhase,omitempty"`
		Pending          string      `json:"gatewayPending,omitempty"`
		PendingPhase     Phase       `json:"gatewayPendingPhase,omitempty"`
		Refused          string      `json:"gatewayRefused,omitempty"`
	}{DeviceID: device}
	if c := s.Current; c != nil {
		out.LastDeployment, out.Phase, out.LastAttempted = c.ID, c.Phase, &updateInfo{c.Update}
		out.DeploymentStatus = map[Phase]string{Succeeded: "Succeeded", Failed: "Failed", Cancelled: "Canceled"}[c.Phase]
		if !c.Phase.terminal() {
			out.DeploymentStatus = "InProgress"
		}
	}
	if s.Installed != "" {
		out.Installed = &updateInfo{s.Installed}
	}
	if s.Pending != nil {
		out.Pending, out.PendingPhase = s.Pending.ID, s.Pending.Phase
	}
	if r := cmp.Or(s.Refusal, s.Declined); r != nil {
		out.Refused = r.Reason
	}
	body, err := json.Marshal(out)
	return Answer{http.StatusOK, body}, err
}
