package update

import (
	"context"
	"maps"
	"strings"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// view takes out of a desired state what the device may not see and puts in
// what it may. Called with the device locked, after its state was committed.
func (g *Guard) view(ctx context.Context, d *deviceState, device string, desired twin.Properties) twin.Properties {
	out := desired.Value
	noted := map[string]string{}
	for _, m := range desired.Value.Members() {
		switch reason := g.judgeMember(ctx, device, m); reason {
		case "":
		case component:
			out = out.Without(m.Name)
		default:
			out = out.Without(m.Name)
			noted[m.Name] = reason
		}
	}
	if s := d.state.Shown; s != nil {
		out = out.With(component, strictjson.ObjectValue(member("__t", strictjson.StringValue("c")), member("service", s.Service)))
	}
	g.noteWithheld(ctx, d, device, desired.Version, noted)
	return twin.Properties{Value: out, Version: desired.Version}
}

// judgeMember says why a top-level property is not passed on as it is: "" when
// it is, the component's own name when Step decides about it.
func (g *Guard) judgeMember(ctx context.Context, device string, m strictjson.Member) string {
	switch m.Name {
	case component:
		return component
	case legacyComponent:
		return "legacy-component"
	case diagnostics:
		if m.Value.Kind() == strictjson.Null {
			return ""
		}
		if a := g.o.Authorizer.May(ctx, Initiator{Hub: true}, Diagnose, device); !a.Allowed {
			return a.Reason
		}
		return ""
	}
	for _, guarded := range []string{component, legacyComponent, diagnostics} {
		// No agent we know folds case; one that did would obey what nobody judged.
		if strings.EqualFold(m.Name, guarded) {
			return "malformed-component"
		}
	}
	return ""
}

// noteWithheld audits each withheld component once for each desired version.
// That it was audited is kept best-effort: a second line after a crash is harmless.
func (g *Guard) noteWithheld(ctx context.Context, d *deviceState, device string, version int64, reasons map[string]string) {
	t := &turn{device: device, state: d.state}
	kept := map[string]int64{}
	for name, reason := range reasons {
		key := name + " " + reason
		kept[key] = version
		if d.state.Noted[key] != version {
			action := Diagnose
			if !strings.EqualFold(name, diagnostics) {
				action = Create
			}
			n := Note{
				Deployment: Deployment{
					Action:  action,
					Phase:   Refused,
					Reason:  reason,
					Version: version,
					Who:     Initiator{Hub: true},
				},
				Detail: "the component " + clip(name) + " is withheld",
			}
			t.notes = append(t.notes, g.note(device, n))
		}
	}
	if len(kept) == 0 {
		kept = nil
	}
	if maps.Equal(kept, d.state.Noted) {
		return
	}
	t.state.Noted = kept
	if err := g.commit(ctx, d, t); err != nil {
		g.o.Log.Warn("deployment journal: a note was not kept", "device", device, "err", err)
	}
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
