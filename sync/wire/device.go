package wire

import (
	"strings"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// Device is a device as the API shows it (docs/spec/management-api.md 4.5). With the parameter
// includes=ConnectionString it also has the members of IoT Hub's registry.
type Device struct {
	ID               space.ID        `json:"id,omitzero"`
	Name             string          `json:"name"`
	FriendlyName     string          `json:"friendlyName,omitempty"`
	Description      string          `json:"description,omitempty"`
	Type             string          `json:"type,omitempty"`
	Subtype          string          `json:"subtype,omitempty"`
	TypeID           int             `json:"typeId"`
	SubtypeID        int             `json:"subtypeId"`
	HardwareID       string          `json:"hardwareId"`
	GatewayID        string          `json:"gatewayId,omitempty"`
	SpaceID          space.ID        `json:"spaceId"`
	Status           string          `json:"status"`
	DeviceID         string          `json:"deviceId,omitempty"` // the IoT Hub device id, exact bytes
	Authentication   *Authentication `json:"authentication,omitempty"`
	Modules          []Module        `json:"modules,omitempty"`
	ConnectionString string          `json:"connectionString,omitempty"`
	Place
	Sensors []Sensor `json:"sensors,omitempty"`
}

// Module is a module identity, in the shape of IoT Hub's registry.
type Module struct {
	ModuleID       string          `json:"moduleId"`
	Authentication *Authentication `json:"authentication,omitempty"`
}

func statusNames() [5]string {
	return [5]string{
		device.Provisioning: "Provisioned", device.Active: "Active",
		device.Offline: "Offline", device.Disabled: "Disabled",
	}
}

// StatusName is the published name of a status; "" when unknown.
func StatusName(s device.Status) string {
	names := statusNames()
	if int(s) >= len(names) {
		return ""
	}
	return names[s]
}

// ParseStatus reads a status, in any case.
func ParseStatus(s string) (device.Status, bool) {
	s = strings.TrimSpace(s)
	for v, name := range statusNames() {
		if name != "" && strings.EqualFold(s, name) {
			return device.Status(v), true
		}
	}
	return device.UnknownStatus, false
}

// ParseDevice reads a device. Members that are absent leave the zero value.
func ParseDevice(o Object) (Device, error) {
	var w Device
	err := w.Patch(o)
	return w, err
}

// Patch takes over the members that o gives, and leaves the others.
func (w *Device) Patch(o Object) error {
	err := readAll(o,
		idField("id", &w.ID), text("name", 64, &w.Name), text("friendlyName", 64, &w.FriendlyName),
		text("description", 4000, &w.Description), text("type", 64, &w.Type), text("subtype", 64, &w.Subtype),
		number("typeId", &w.TypeID), number("subtypeId", &w.SubtypeID),
		text("hardwareId", 36, &w.HardwareID), text("gatewayId", 128, &w.GatewayID),
		idField("spaceId", &w.SpaceID), text("status", 32, &w.Status), text("deviceId", 128, &w.DeviceID),
		place(&w.Place))
	if err != nil {
		return err
	}
	if o.Present("status") {
		s, ok := ParseStatus(w.Status)
		if !ok {
			return invalid("status", "not one of Provisioned, Active, Offline, Disabled")
		}
		w.Status = StatusName(s)
	}
	if strings.ContainsAny(w.DeviceID, "+#/\x00") {
		return invalid("deviceId", "must not hold + # / or NUL")
	}
	if o.Has("authentication") {
		if w.Authentication, err = ParseAuthentication(o); err != nil {
			return err
		}
	}
	return w.patchModules(o)
}

func (w *Device) patchModules(o Object) error {
	if !o.Has("modules") {
		return nil
	}
	list, err := o.List("modules")
	if err != nil {
		return err
	}
	if len(list) > 50 {
		return invalid("modules", "more than 50")
	}
	w.Modules = nil
	for _, in := range list {
		m := Module{}
		if m.ModuleID, err = in.String("moduleId", 128); err != nil {
			return err
		}
		if m.ModuleID == "" || strings.ContainsAny(m.ModuleID, "+#/\x00") {
			return invalid("moduleId", "required, without + # / or NUL")
		}
		for _, other := range w.Modules {
			if other.ModuleID == m.ModuleID {
				return invalid("moduleId", "given twice")
			}
		}
		if m.Authentication, err = ParseAuthentication(in); err != nil {
			return err
		}
		w.Modules = append(w.Modules, m)
	}
	return nil
}

// Record converts w to the registry's form.
func (w *Device) Record() (device.Device, error) {
	if w.ID.IsZero() {
		return device.Device{}, invalid("id", "required")
	}
	if w.SpaceID.IsZero() {
		return device.Device{}, invalid("spaceId", "required")
	}
	status, _ := ParseStatus(w.Status) // with an unknown status the device cannot connect
	d := device.Device{
		ID:         w.ID,
		HubID:      w.DeviceID,
		Name:       w.Name,
		HardwareID: w.HardwareID,
		GatewayID:  w.GatewayID,
		Space:      w.SpaceID,
		Status:     status,
	}
	var err error
	if d.Auth, err = w.Authentication.Auth(); err != nil {
		return device.Device{}, err
	}
	for _, m := range w.Modules {
		auth, err := m.Authentication.Auth()
		if err != nil {
			return device.Device{}, err
		}
		d.Modules = append(d.Modules, device.Module{ID: m.ModuleID, Auth: auth})
	}
	return d, nil
}
