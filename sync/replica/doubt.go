package replica

import (
	"context"
	"fmt"
	"slices"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// Held says how much the sink holds, so that a suspiciously small answer is noticed.
// Keys counts devices and functions with a symmetric key.
type Held struct {
	Version                                                model.Version
	Assignments, Spaces, Devices, Sensors, Functions, Keys int
	Roles, CAs, AzureRoles, AzureAssignments, AzureDenies  int
}

// Measure is the Held of a complete answer, for a caller that loads one from a store.
func Measure(v model.Version, p *model.Snapshot, d *device.Data) Held {
	h := Held{
		Version:          v,
		Assignments:      len(p.Assignments),
		Spaces:           len(d.Spaces),
		Devices:          len(d.Devices),
		Sensors:          len(d.Sensors),
		Functions:        len(d.Functions),
		Roles:            len(p.Roles),
		CAs:              len(d.CAs),
		AzureRoles:       len(p.AzureRoles),
		AzureAssignments: len(p.AzureAssignments),
		AzureDenies:      len(p.AzureDenies),
	}
	for i := range d.Devices {
		if len(d.Devices[i].Auth.Primary) > 0 {
			h.Keys++
		}
	}
	for i := range d.Functions {
		if len(d.Functions[i].Auth.Primary) > 0 {
			h.Keys++
		}
	}
	return h
}

func measure(f *Full) Held { return Measure(f.Version, &f.Policy, &f.Data) }

// follow updates the sizes by what a delta adds and removes.
func (h *Held) follow(d *Delta) {
	h.Version = d.To
	for n, by := range map[*int]int{
		&h.Assignments: d.Created.Assignments - len(d.Policy.RemoveAssigns),
		&h.Spaces:      d.Created.Spaces - len(d.Data.RemoveSpaces),
		&h.Devices:     d.Created.Devices - len(d.Data.RemoveDevices),
		&h.Sensors:     d.Created.Sensors - len(d.Data.RemoveSensors),
		&h.Functions:   d.Created.Functions - len(d.Data.RemoveFunctions),
		&h.Roles:       d.Created.Roles - len(d.Policy.RemoveRoles),
		&h.CAs:         d.Created.CAs - len(d.Data.RemoveCAs),

		&h.AzureRoles:       d.Created.AzureRoles - len(d.Policy.RemoveAzureRoles),
		&h.AzureAssignments: d.Created.AzureAssignments - len(d.Policy.RemoveAzureAssigns),
		&h.AzureDenies:      d.Created.AzureDenies - len(d.Policy.RemoveAzureDenies),
	} {
		*n = max(0, *n+by)
	}
	h.Keys = min(h.Keys+d.Created.Keys, h.Devices+h.Functions)
}

// doubt is the reason why an answer must be confirmed before it is used. what names the
// rights without which the server would hide the missing objects from the gateway, so
// that their absence would prove nothing.
type doubt struct {
	why  string
	what []string
}

// doubt compares an answer with what is held; nil if nothing about it is
// suspicious. azure says which assignments have the gateway's own among them.
func (h Held) doubt(f *Full, azure bool) *doubt {
	now := measure(f)
	var d doubt
	for _, part := range []struct {
		name     string
		old, new int
	}{
		{"assignments", h.Assignments, now.Assignments}, {"spaces", h.Spaces, now.Spaces},
		{"devices", h.Devices, now.Devices}, {"sensors", h.Sensors, now.Sensors},
		{"functions", h.Functions, now.Functions}, {"keys", h.Keys, now.Keys},
		{"roles", h.Roles, now.Roles}, {"certificate authorities", h.CAs, now.CAs},
		// A deny assignment that is missing from the answer gives rights.
		{"azure roles", h.AzureRoles, now.AzureRoles}, {"azure assignments", h.AzureAssignments, now.AzureAssignments},
		{"azure denials", h.AzureDenies, now.AzureDenies},
	} {
		if part.old > 0 && part.new == 0 || part.old >= 10 && part.new < part.old/2 {
			d.what = append(d.what, part.name)
			d.why += fmt.Sprintf("%s: %d instead of %d; ", part.name, part.new, part.old)
		}
	}
	// By this answer no principal has any right, not even the gateway itself. A server
	// that hides assignments from the gateway gives exactly the same answer.
	own, held, name := now.Assignments, h.Assignments, "assignments"
	if azure {
		own, held, name = now.AzureAssignments, h.AzureAssignments, "azure assignments"
	}
	if own == 0 && held == 0 {
		d.what = append(d.what, name)
		d.why += "no " + name + " at all; "
	}
	switch {
	case h.Version == (model.Version{}):
	case f.Version.Epoch != h.Version.Epoch:
		d.why += fmt.Sprintf("a new epoch, %d instead of %d; ", f.Version.Epoch, h.Version.Epoch)
		d.what = append(d.what, "assignments")
	case f.Version.Number < h.Version.Number:
		d.why += fmt.Sprintf("version %s is older than %s; ", f.Version, h.Version)
	}
	if d.why == "" {
		return nil
	}
	return &d
}

// doubtError is the error of an answer that stayed suspicious: the old snapshot
// remains in force.
type doubtError struct {
	code Code
	text string
}

func (e *doubtError) Error() string { return e.text }

// confirm reads everything a second time and asks for the gateway's own rights. An
// answer is used only if it comes twice and the gateway may read everything that seems to
// be missing. An answer whose version is lower than the held one within the same epoch is
// never used.
func (r *Replica) confirm(ctx context.Context, d *doubt) (Full, error) {
	r.log.Warn("sync: a suspicious answer is read again", "why", d.why)
	r.rest(ctx, r.o.ConfirmAfter)
	rights, err := r.o.Source.Rights(ctx)
	if err != nil {
		return Full{}, &doubtError{Unexplained, fmt.Sprintf("%sand the own rights cannot be checked: %v", d.why, err)}
	}
	for _, what := range d.what {
		if !may(rights, what) {
			return Full{}, &doubtError{RightsLost, fmt.Sprintf("%sthe gateway's own identity may not read %s at the site", d.why, what)}
		}
	}
	second, err := r.o.Source.Full(ctx)
	if err != nil {
		return Full{}, &doubtError{Unexplained, fmt.Sprintf("%sand the second read failed: %v", d.why, err)}
	}
	r.number(&second)
	again := r.held.doubt(&second, r.o.Azure)
	if again == nil {
		return second, nil // the second answer is not suspicious: the first one was a passing fault of the server
	}
	if !slices.Equal(again.what, d.what) {
		return Full{}, &doubtError{Unexplained, fmt.Sprintf("two reads disagree: first %sthen %s", d.why, again.why)}
	}
	if second.Version.Epoch == r.held.Version.Epoch && second.Version.Number < r.held.Version.Number {
		return Full{}, &doubtError{Backwards, d.why}
	}
	r.log.Warn("sync: the suspicious answer is confirmed", "why", d.why)
	return second, nil
}

func may(r wire.Rights, what string) bool {
	switch what {
	case "assignments":
		return r.Assignments
	case "spaces":
		return r.Spaces
	case "devices":
		return r.Devices
	case "sensors":
		return r.Sensors
	case "functions":
		return r.Functions
	case "keys":
		return r.Keys
	case "roles": // everybody may read them
		return true
	case "certificate authorities":
		return r.Devices
	case "azure roles", "azure assignments", "azure denials":
		return r.Assignments
	}
	return false
}
