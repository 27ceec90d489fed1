package registry

import (
	"encoding/json"
	"net/http"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// answer is what a requester receives: a status with the meaning that it has in HTTP, and a body.
type answer struct {
	Status int `json:"status"`
	Body   any `json:"body,omitempty"`
}

type failure struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func refusal(status int, code, text string) answer {
	var f failure
	f.Error.Code, f.Error.Message = code, text
	return answer{status, f}
}

func waiting() answer {
	return answer{http.StatusAccepted, struct {
		Status string `json:"status"`
	}{"queued"}}
}

// deviceView is the management API's shape of a device
// (docs/spec/management-api.md 4.5). It has no member for a credential, so
// that none can be shown by mistake.
type deviceView struct {
	ID         space.ID     `json:"id"`
	Name       string       `json:"name"`
	HardwareID string       `json:"hardwareId"`
	GatewayID  string       `json:"gatewayId,omitempty"`
	SpaceID    space.ID     `json:"spaceId"`
	Status     string       `json:"status"`
	DeviceID   string       `json:"deviceId"`
	SpacePaths []space.Path `json:"spacePaths,omitempty"`
	Modules    []moduleView `json:"modules,omitempty"`
	Sensors    []sensorView `json:"sensors"`
	// Truncated: the device has more sensors than the answer lists.
	Truncated bool `json:"sensorsTruncated,omitempty"`
}

type moduleView struct {
	ModuleID string `json:"moduleId"`
}

type sensorView struct {
	ID         space.ID     `json:"id"`
	DeviceID   space.ID     `json:"deviceId"`
	SpaceID    space.ID     `json:"spaceId"`
	HardwareID string       `json:"hardwareId"`
	SpacePaths []space.Path `json:"spacePaths,omitempty"`
}

// maxSensors bounds an answer; the management API's own limit is 1,000 objects.
const maxSensors = 1000

func (s *Service) view(p *principal.Principal, t *device.Topology, d *device.Device) deviceView {
	v := deviceView{
		ID:         d.ID,
		Name:       d.Name,
		HardwareID: d.HardwareID,
		GatewayID:  d.GatewayID,
		SpaceID:    d.Space,
		Status:     statusName(d.Status),
		DeviceID:   d.HubID,
		SpacePaths: paths(t.DevicePath(d)),
		Sensors:    []sensorView{},
	}
	for i := range d.Modules {
		v.Modules = append(v.Modules, moduleView{d.Modules[i].ID})
	}
	for n := range t.Sensors(d.ID) {
		if !s.o.MayRead(p, n) {
			continue
		}
		if len(v.Sensors) == maxSensors {
			v.Truncated = true
			break
		}
		v.Sensors = append(v.Sensors, sensorView{n.ID, n.Device, n.Space, n.HardwareID, paths(t.SensorPath(n))})
	}
	return v
}

func paths(p space.Path) []space.Path {
	if p.IsZero() {
		return nil
	}
	return []space.Path{p}
}

// statusName is the management API's name of a device's status.
func statusName(s device.Status) string {
	switch s {
	case device.Provisioning:
		return "Provisioned"
	case device.Active:
		return "Active"
	case device.Offline:
		return "Offline"
	case device.Disabled:
		return "Disabled"
	}
	return "Unknown"
}

// respond publishes an answer to the requesting session and to nobody else. A request without a
// request id gets no answer. It is called on the goroutine of sendAnswers.
func (s *Service) respond(session, request string, a answer) {
	if request == "" || session == "" {
		return
	}
	body, err := json.Marshal(a)
	if err != nil {
		s.o.Log.Error("registry answer not written", "err", err)
		return
	}
	m := &message.Message{Topic: "registry/responses/" + request, Payload: body, Accepted: s.o.Now(), Publisher: s.o.Self}
	if !s.o.SendSession(session, m) {
		s.o.Log.Debug("registry answer found no session that waits for it", "session", session)
	}
}
