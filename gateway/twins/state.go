package twins

import (
	"encoding/json"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// twinState is all that is kept of one identity's twin. Its values are immutable; the state is
// replaced only on the identity's goroutine.
type twinState struct {
	// Owner is the registry's id of the device that the twin belongs to, because another device can
	// be given the same hub id later.
	Owner string `json:"owner,omitempty"`
	// Local: there is no twin upstream, and this state is the only one.
	Local bool `json:"local,omitempty"`
	// Known: Desired and Reported have been read from upstream at least once.
	Known           bool             `json:"known,omitempty"`
	Desired         strictjson.Value `json:"desired"` // as upstream has it; the device gets only what the guard lets pass
	DesiredVersion  int64            `json:"desiredVersion"`
	Reported        strictjson.Value `json:"reported"` // as upstream has it
	ReportedVersion int64            `json:"reportedVersion"`
	// Shown is the desired properties as the device last got them; Null before it got any.
	Shown strictjson.Value `json:"shown"`
	// Queue are the reported patches that upstream has not taken yet, oldest first.
	Queue []strictjson.Value `json:"queue,omitempty"`
	// Withheld are the reported patches that Device Update may not read now, oldest first.
	Withheld []strictjson.Value `json:"withheld,omitempty"`
	// SpokenFor is true if the gateway has reported a refusal in the device's name. Own is then
	// the deviceUpdate component as the device itself last reported it (null if it never did). The
	// device must not learn of an action that was withheld from it, not even by reading its own
	// twin.
	SpokenFor bool             `json:"spokenFor,omitempty"`
	Own       strictjson.Value `json:"own"`
}

// component is the member of the reported properties with the state of deployments.
const component = "deviceUpdate"

// keepOwn saves the device's own report before the gateway reports a refusal in its name.
func (r *twinState) keepOwn() {
	if r.SpokenFor {
		return
	}
	r.SpokenFor, r.Own = true, strictjson.NullValue()
	if own := r.reportedNow().Value.Get(component); own.Kind() == strictjson.Object {
		r.Own = own
	}
}

// updateOwn keeps Own up to date with a report of the device itself.
func (r *twinState) updateOwn(patch strictjson.Value) {
	if part := patch.Get(component); r.SpokenFor && part.Kind() != strictjson.Absent {
		own := strictjson.Merge(strictjson.ObjectValue().With(component, r.Own), strictjson.ObjectValue().With(component, part)).Get(component)
		if own.Kind() != strictjson.Object {
			own = strictjson.NullValue()
		}
		r.Own = own
	}
}

// reportedShown is the reported properties as the device may see them: its own reports, without
// what the gateway reported in its name.
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

// reportedNow is everything that was reported for the device: what upstream has, merged with the
// patches that wait here.
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

// maxQueue is how many patches of one identity may wait. Each has at most twin.MaxReported bytes.
const maxQueue = 16

// full reports whether no further patch can be taken.
func (r twinState) full() bool { return len(r.Queue)+len(r.Withheld) >= maxQueue }

// enqueue adds a patch to a queue, merged into the last one where one patch
// can say both.
func enqueue(queue []strictjson.Value, patch strictjson.Value) []strictjson.Value {
	out := append([]strictjson.Value(nil), queue...)
	if n := len(out); n > 0 {
		// A joined patch keeps the deletions of both, so it can become larger than the hub takes.
		if joined, ok := strictjson.Join(out[n-1], patch); ok && len(joined.Bytes()) <= twin.MaxReported {
			out[n-1] = joined
			return out
		}
	}
	return append(out, patch)
}

// devicePatch is the patch that turns what the device was shown into what it may see now. It
// reports whether there is a difference. The service member of a deployment is always sent
// whole, never as its differences, because the agent on the device acts on the patch as it is.
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

// withNulls is the whole of after, with a null for every key that only before has.
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
