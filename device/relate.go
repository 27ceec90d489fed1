package device

import (
	"iter"

	"github.com/gatehouse/gatehouse/device/space"
)

// maxChain is how far gateways of gateways are followed to rule out a cycle:
// a chain that has not ended by then is treated as one.
const maxChain = 16

// ActsFor tells whether the device actor acts for target (docs/spec/semantics.md 3.2):
// both are Active, and actor is target, or is reached from it over at most
// ActsForDepth gatewayIds, each naming exactly one Active device. A chain that
// comes back to itself serves nobody but its target.
func (t *Topology) ActsFor(actor space.ID, target *Device) bool {
	if target == nil {
		return false
	}
	a, ok := t.devices.get(actor)
	if !ok || a.refused || a.Status != Active {
		return false
	}
	cur, ok := t.devices.get(target.ID)
	if !ok || cur.refused || cur.Status != Active {
		return false
	}
	if actor == target.ID {
		return true
	}
	found := false
	for i := range maxChain {
		next := t.gatewayOf(cur)
		if next == nil {
			return found
		}
		if next.Status != Active && i < t.depth && !found {
			return false
		}
		if next.ID == actor && i < t.depth {
			found = true
		}
		cur = next
	}
	return false
}

// GatewayOf is the device that d names as its gateway; false when d names
// none, names nothing known, or names several.
func (t *Topology) GatewayOf(d *Device) (*Device, bool) {
	e, ok := t.devices.get(d.ID)
	if !ok || e.refused {
		return nil, false
	}
	g := t.gatewayOf(e)
	if g == nil {
		return nil, false
	}
	return &g.Device, true
}

// gatewayOf resolves a gatewayId. It is free text, which may be the topology
// GUID, the hub device id or the hardware id of the gateway. All records are
// searched for each of the three; if that finds two different devices, the
// answer is none.
func (t *Topology) gatewayOf(e *deviceEntry) *deviceEntry {
	if e.gateway == "" {
		return nil
	}
	var found space.ID
	if !e.guid.IsZero() {
		if _, ok := t.devices.get(e.guid); ok {
			found = e.guid
		}
	}
	for _, kind := range [...]claimKind{claimHubID, claimHardwareID} {
		ids, _ := t.claims.get(claim{kind, e.gateway})
		for _, id := range ids {
			if !found.IsZero() && id != found {
				return nil
			}
			found = id
		}
	}
	g, ok := t.devices.get(found)
	if !ok || g.refused {
		return nil
	}
	return g
}

// IsGateway tells whether some usable device names id as its gateway.
func (t *Topology) IsGateway(id space.ID) bool {
	for range t.Children(id) {
		return true
	}
	return false
}

// Children lists the usable devices, of any status, whose gatewayId names the
// device id and nothing else.
func (t *Topology) Children(id space.ID) iter.Seq[*Device] {
	return func(yield func(*Device) bool) {
		g, ok := t.devices.get(id)
		if !ok || g.refused {
			return
		}
		for i, c := range names(g) {
			ids, _ := t.named.get(c)
			for _, child := range ids {
				e, ok := t.devices.get(child)
				if !ok || e.refused || child == id || t.gatewayOf(e) != g {
					continue
				}
				if i == 0 || !namedBefore(g, e, i) {
					if !yield(&e.Device) {
						return
					}
				}
			}
		}
	}
}

// names lists the texts by which a gatewayId may name g.
func names(g *deviceEntry) [3]claim {
	return [3]claim{{nameGUID, g.ID.String()}, {nameText, g.HubID}, {nameText, g.HardwareID}}
}

// namedBefore keeps a child from being listed twice when two of the
// gateway's names are the same text.
func namedBefore(g, child *deviceEntry, i int) bool {
	if child.guid == g.ID {
		return true
	}
	return i == 2 && child.gateway == g.HubID
}
