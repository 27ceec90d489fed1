package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Deployments decides the deployment actions of Device Update (docs/spec/semantics.md 5). It is
// the deployment guard's update.Authorizer. There are two kinds of initiator:
//
//   - A local user or service principal needs its rights at the Device Update
//     instance. It is decided by the identities that Initiator recorded.
//   - The Device Update service acts through desired properties that the IoT hub
//     sends, in which no principal is named. The configured service principal
//     stands for it, and needs its rights at the hub.
//
// It decides on the Control's snapshots and never waits. Safe for concurrent use.
type Deployments struct {
	control *Control
	service model.Identity
	now     func() time.Time
}

var _ update.Authorizer = (*Deployments)(nil)

// Deployments returns the Authorizer over the Control's policy, stage and scopes. service is
// the Device Update service principal in the home tenant. Without its object id every action of
// the service is refused: there is no default to fall back to. now is the clock by which
// recorded group memberships expire.
func (c *Control) Deployments(service model.Identity, now func() time.Time) *Deployments {
	return &Deployments{control: c, service: service, now: now}
}

// May implements update.Authorizer. It ignores the device: Azure RBAC assigns these rights at
// the hub or at the instance, never at one device.
func (a *Deployments) May(_ context.Context, who update.Initiator, action update.Action, _ string) update.Decision {
	subject, err := a.subject(who)
	if err != nil {
		return update.Decision{Reason: "no-initiator", Detail: err.Error()}
	}
	e := a.control.env()
	switch {
	case e.policy == nil:
		return update.Decision{Reason: NoPolicy, Detail: "the gateway has no policy yet"}
	case e.stage >= offline.Expired:
		return update.Decision{Reason: CacheExpired, Detail: "the policy is too old to decide by"}
	case e.stage >= offline.Restricted && beginsWork(action):
		return update.Decision{
			Hold:   true,
			Reason: StageRefused,
			Detail: "the cloud has been out of sight for too long for new deployment actions",
		}
	}
	return meetsAll(e.policy, subject, deploymentNeeds(who.Hub, action, e.set))
}

// beginsWork reports whether the action starts something on a device. Such actions wait while
// the offline stage is restricted. Cancelling what no device has been shown yet starts nothing,
// and stays possible.
func beginsWork(action update.Action) bool {
	return action == update.Create || action == update.Retry || action == update.CancelReleased
}

// actionNeed is one right that an action needs: any of the data actions, at an ARM scope.
type actionNeed struct {
	scope string
	anyOf []string
}

// deploymentNeeds returns the Azure RBAC rights that a deployment action needs; all of them
// must be held (docs/spec/semantics.md 5). It is the only place that maps actions to rights.
// hub is true for the Device Update service and false for a local initiator.
func deploymentNeeds(hub bool, action update.Action, at *settings) []actionNeed {
	switch {
	case !hub && action == update.Get:
		return []actionNeed{{at.instanceScope, []string{model.DeviceUpdateManagementRead}}}
	case !hub, action == update.Diagnose:
		return []actionNeed{{at.instanceScope, []string{model.DeviceUpdateManagementWrite}}}
	}
	twins := actionNeed{at.hubScope, []string{model.IotHubTwinsWrite}}
	switch action {
	case update.Get:
		return []actionNeed{{at.hubScope, []string{model.IotHubTwinsRead}}}
	case update.Cancel, update.CancelReleased:
		return []actionNeed{{at.hubScope, []string{model.IotHubConfigurationsWrite, model.IotHubConfigurationsDelete}}, twins}
	default:
		return []actionNeed{{at.hubScope, []string{model.IotHubConfigurationsWrite}}, twins}
	}
}

// meetsAll returns the decision about the first need that is refused, or else about the last
// one.
func meetsAll(ix *authz.Index, s *model.Subject, needs []actionNeed) update.Decision {
	var last update.Decision
	for _, n := range needs {
		action, dec := n.ask(ix, s)
		last = update.Decision{Allowed: dec.Allowed, Reason: dec.Reason.String(), Detail: action + " at " + n.scope}
		if !dec.Allowed {
			return last
		}
		last.Detail += " by assignment " + dec.Outcome().Assignment.String()
	}
	return last
}

// ask returns the first data action of the need that is allowed, or else the refusal of the
// last one.
func (n actionNeed) ask(ix *authz.Index, s *model.Subject) (action string, dec authz.Decision) {
	for _, action = range n.anyOf {
		if dec = ix.DecideAction(s, action, n.scope); dec.Allowed {
			break
		}
	}
	return action, dec
}

// subject returns the identities by which the initiator's rights are decided.
func (a *Deployments) subject(who update.Initiator) (*model.Subject, error) {
	if who.Hub {
		if a.service.Object.IsZero() {
			return nil, errors.New("instance.deviceUpdate.principal is not configured: " +
				"set the object id of the Device Update service principal in your tenant")
		}
		return &model.Subject{Identities: []model.Identity{a.service}, Object: a.service.Object, GroupsKnown: true}, nil
	}
	var recorded recordedInitiator
	if err := json.Unmarshal(who.Identities, &recorded); err != nil {
		return nil, fmt.Errorf("the initiator's recorded identities are not readable: %w", err)
	}
	if !recorded.GroupsUntil.IsZero() && a.now().After(recorded.GroupsUntil) {
		recorded.Groups, recorded.GroupsKnown = nil, false
	}
	return &recorded.Subject, nil
}

// recordedInitiator is how a deployment's journal record keeps a local initiator, so that the
// same identities are decided again when the deployment is released to a device. Groups come
// from a token and count only until it expires (docs/spec/semantics.md 2.2).
type recordedInitiator struct {
	model.Subject
	GroupsUntil time.Time
}

// Initiator returns the record of the principal that asks for a local action.
func Initiator(p *principal.Principal) update.Initiator {
	ids, err := json.Marshal(recordedInitiator{p.Subject, p.Expires})
	if err != nil {
		return update.Initiator{Name: p.Name} // without identities every action is refused
	}
	return update.Initiator{Name: p.Name, Identities: ids}
}
