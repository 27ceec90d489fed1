package duapi

import (
	"context"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Guard is the deployment guard (device/update.Guard), which holds back and releases the
// deployments of the gateway's devices.
type Guard interface {
	State(device string) update.State
	Local(ctx context.Context, r update.Request) (update.Answer, error)
}

// Parts implements Gateway. Its registry, rights and guard are those by which deployment
// actions over MQTT topics are decided, so that both ways give the same answer. All fields
// are needed.
type Parts struct {
	// Token implements Gateway.Prove.
	Token func(token string) (*principal.Principal, error)
	// Initiator returns what the guard keeps of the principal that requests an action.
	Initiator func(*principal.Principal) update.Initiator
	Rights    update.Authorizer
	Guard     Guard
	Topology  func() *device.Topology
}

var _ Gateway = (*Parts)(nil)

// Prove implements Gateway.
func (g *Parts) Prove(token string) (*principal.Principal, error) { return g.Token(token) }

// May implements Gateway.
func (g *Parts) May(ctx context.Context, p *principal.Principal, action update.Action) update.Decision {
	return g.Rights.May(ctx, g.Initiator(p), action, "")
}

// Known implements Gateway.
func (g *Parts) Known(id string) bool {
	_, ok := g.Topology().DeviceByHubID(id)
	return ok
}

// Holders implements Gateway.
func (g *Parts) Holders(deployment string) []string {
	var ids []string
	for _, dev := range g.Topology().Data().Devices {
		if dev.HubID == "" || !g.Known(dev.HubID) {
			continue
		}
		s := g.Guard.State(dev.HubID)
		if s.Pending != nil && s.Pending.ID == deployment || s.Current != nil && s.Current.ID == deployment {
			ids = append(ids, dev.HubID)
		}
	}
	return ids
}

// Local implements Gateway.
func (g *Parts) Local(ctx context.Context, p *principal.Principal, r update.Request) (update.Answer, error) {
	r.Who = g.Initiator(p)
	return g.Guard.Local(ctx, r)
}
