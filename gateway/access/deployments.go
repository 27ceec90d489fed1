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

// Deployments decides the actions of Device Update (docs/spec/semantics.md 5); it is the
// deployment guard's update.Authorizer. Who asks for what:
//
//   - A local user or service principal is asked about at the Device Update
//     instance, by the identities that Initiator recorded.
//   - The Device Update service speaks through desired properties of the hub,
//     which name nobody. Its service principal, known by configuration, is
//     asked about at the hub.
//
// It decides on the Control's snapshots and never waits. Safe for concurrent use.
type Deployments struct {
	control *Control
	service model.Identity
	now     func() time.Time
}

var _ update.Authorizer = (*Deployments)(nil)

// Deployments makes the Authorizer over the Control's policy, stage and scopes.
// service is the Device Update service principal in the home tenant; without an
// object id every action of the service is refused, because there is no
// default to fall back to. now is the clock by which recorded groups end.
func (c *Control) Deployments(service model.Identity, now func() time.Time) *Deployments {
	return &Deployments{control: c, service: service, now: now}
}

// May implements update.Authorizer. The device does not matter: Azure RBAC
// gives these rights at the hub or at the instance, never at one device.
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

// beginsWork tells whether the action starts something on a device. Such
// actions wait while the cloud is out of sight (stage restricted). To cancel
// what no device has been shown yet begins nothing and stays possible.
func beginsWork(action update.Action) bool {
	return action == update.Create || action == update.Retry || action == update.CancelReleased
}

// actionNeed is a right that an action needs: one of the data actions, at an ARM scope.
type actionNeed struct {
	scope string
	anyOf []string
}

// deploymentNeeds is the only mapping from a deployment action to Azure RBAC:
// every need in the answer must be met (docs/spec/semantics.md 5). hub tells the Device
// Update service from a local initiator.
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

// meetsAll is the decision about the first need that is not met, or about the last one.
func meetsAll(ix *authz.Index, s *model.Subject, needs []actionNeed) update.Decision {
	var last update.Decision
	for _, n := range needs {
		action, dec := n.ask(ix, s)
		last = update.Decision{Allowed: dec.Allowed, Reason: dec.Reason.String(), Detail: action + " at " + n.scope}
		if !dec.Allowed {
			return last
		}
		last.Detail += " by assignment " + dec.Record().Assignment.String()
	}
	return last
}

// ask finds a data action of the need that is allowed; if none is, it answers
// with the refusal of the last.
func (n actionNeed) ask(ix *authz.Index, s *model.Subject) (action string, dec authz.Decision) {
	for _, action = range n.anyOf {
		if dec = ix.DecideAction(s, action, n.scope); dec.Allowed {
			break
		}
	}
	return action, dec
}

// subject is whose rights are asked about.
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

// recordedInitiator is what a deployment's journal record keeps of a local
// initiator, so that the same identities are asked about again at release.
// Groups come from a token and count only while it lives (docs/spec/semantics.md 2.2).
type recordedInitiator struct {
	model.Subject
	GroupsUntil time.Time
}

// Initiator records who asks for a local action.
func Initiator(p *principal.Principal) update.Initiator {
	ids, err := json.Marshal(recordedInitiator{p.Subject, p.Expires})
	if err != nil {
		return update.Initiator{Name: p.Name} // without identities nothing is allowed
	}
	return update.Initiator{Name: p.Name, Identities: ids}
}
