package twins

import (
	"encoding/json"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// record is what is kept of one identity. Values are immutable; a record is
// changed only on its identity's goroutine.
type twinState struct {
	// Owner names the device that the record belongs to, because another device can be given the
	// same id later.
	Owner string `json:"owner,omitempty"`
	// Local: there is no twin upstream, this is the twin.
	Local bool `json:"local,omitempty"`
	// Known: Desired and Reported have been read from upstream at least once.
	Known           bool             `json:"known,omitempty"`
	Desired         strictjson.Value `json:"desired"` // as upstream has it, unjudged: never sent to the device
	DesiredVersion  int64            `json:"desiredVersion"`
	Reported        strictjson.Value `json:"reported"` // as upstream has it
	ReportedVersion int64            `json:"reportedVersion"`
	// Shown is what the device was last shown of its desired properties;
	// Null before it was shown anything.
	Shown strictjson.Value `json:"shown"`
	// Queue are reported patches that upstream has not taken, oldest first.
	Queue []strictjson.Value `json:"queue,omitempty"`
	// Withheld are those that the update service may not read now.
	Withheld []strictjson.Value `json:"withheld,omitempty"`
	// SpokenFor is true if the gateway has reported a refusal in the device's name. Own is then
	// the deviceUpdate component as the device itself last reported it (null if it never did). The
	// device must not learn of an action that was withheld from it, not even by reading its own
	// twin.
	SpokenFor bool             `json:"spokenFor,omitempty"`
	Own       strictjson.Value `json:"own"`
}

// component is what a device and the gateway report of deployments.
const component = "deviceUpdate"

// speak saves the device's own report before the gateway reports a refusal in its name.
func (r *twinState) speak() {
	if r.SpokenFor {
		return
	}
	r.SpokenFor, r.Own = true, strictjson.NullValue()
	if own := r.reportedNow().Value.Get(component); own.Kind() == strictjson.Object {
		r.Own = own
	}
}

// heard keeps Own up to date with a report of the device itself.
func (r *twinState) heard(patch strictjson.Value) {
	if part := patch.Get(component); r.SpokenFor && part.Kind() != strictjson.Absent {
		own := strictjson.Merge(strictjson.ObjectValue().With(component, r.Own), strictjson.ObjectValue().With(component, part)).Get(component)
		if own.Kind() != strictjson.Object {
			own = strictjson.NullValue()
		}
		r.Own = own
	}
}

// reportedShown is what the device sees of its reported properties.
func (r twinState) reportedShown() twin.Properties {
	p := r.reportedNow()
	if r.SpokenFor {
		p.Value = strictjson.Merge(p.Value, strictjson.ObjectValue().With(component, strictjson.NullValue()))
		if r.Own.Kind() == strictjson.Object {
			p.Value = p.Value.With(component, r.Own)
		}
	}
	return p
}

func newTwinState() twinState {
	empty := strictjson.ObjectValue()
	return twinState{Desired: empty, Reported: empty, Shown: strictjson.NullValue(), Own: strictjson.NullValue()}
}

func decodeTwinState(text []byte) (twinState, error) {
	r := newTwinState()
	err := json.Unmarshal(text, &r)
	return r, err
}

func (r twinState) desired() twin.Properties {
	return twin.Properties{Value: r.Desired, Version: r.DesiredVersion}
}

// reportedNow is what the device has reported: what upstream has, and what waits here.
func (r twinState) reportedNow() twin.Properties {
	p := twin.Properties{Value: r.Reported, Version: r.ReportedVersion}
	for _, patches := range [][]strictjson.Value{r.Queue, r.Withheld} {
		for _, q := range patches {
			p.Value = strictjson.Merge(p.Value, q)
			p.Version++
		}
	}
	return p
}

// maxQueue bounds what is kept of one identity, in patches of at most
// twin.MaxReported bytes each.
const maxQueue = 16

// full tells whether no further patch can be promised.
func (r twinState) full() bool { return len(r.Queue)+len(r.Withheld) >= maxQueue }

// enqueue adds a patch to a queue, merged into the last one where one patch
// can say both.
func enqueue(queue []strictjson.Value, patch strictjson.Value) []strictjson.Value {
	out := append([]strictjson.Value(nil), queue...)
	if n := len(out); n > 0 {
		// The deletions in a patch add up: the hub takes only so much at once.
		if joined, ok := strictjson.Join(out[n-1], patch); ok && len(joined.Bytes()) <= twin.MaxReported {
			out[n-1] = joined
			return out
		}
	}
	return append(out, patch)
}

// devicePatch leads from what the device was shown to what it may see now.
// The service of a deployment is always sent whole, never by its differences:
// an agent acts on the patch as it comes.
func devicePatch(shown, now strictjson.Value) (strictjson.Value, bool) {
	if shown.Kind() != strictjson.Object {
		shown = strictjson.ObjectValue()
	}
	patch, changed := strictjson.Diff(shown, now)
	if !changed {
		return patch, false
	}
	before, after := shown.At("deviceUpdate", "service"), now.At("deviceUpdate", "service")
	if after.Kind() == strictjson.Object && !strictjson.Equal(before, after) {
		patch = patch.With("deviceUpdate", now.Get("deviceUpdate").With("service", withNulls(before, after)))
	}
	return patch, true
}

// withNulls is the whole new object, with a null for every key that is gone.
func withNulls(before, after strictjson.Value) strictjson.Value {
	out := after
	for _, m := range before.Members() {
		switch now := after.Get(m.Name); {
		case now.Kind() == strictjson.Absent:
			out = out.With(m.Name, strictjson.NullValue())
		case now.Kind() == strictjson.Object && m.Value.Kind() == strictjson.Object:
			out = out.With(m.Name, withNulls(m.Value, now))
		}
	}
	return out
}
