package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/store"
)

// deploymentRights answers the guard: the Device Update service principal is
// asked about at the hub's scope, a local initiator at the instance (semantics.md 5).
type deploymentRights struct {
	index func() *authz.Index
	stage func() offline.Stage
	now   func() time.Time
	cfg   *config.Config
}

// May implements update.Authorizer.
func (r *deploymentRights) May(_ context.Context, who update.Initiator, action update.Action, _ string) update.Decision {
	subject, err := r.subject(who)
	if err != nil {
		return update.Decision{Reason: "no-initiator", Detail: err.Error()}
	}
	stage := r.stage()
	switch {
	case stage == offline.Expired && !r.cfg.Offline.KeepAfterExpiry:
		return update.Decision{Reason: access.CacheExpired, Detail: "the policy is too old to decide by"}
	case stage >= offline.Restricted && (action == update.Create || action == update.Retry || action == update.CancelReleased):
		return update.Decision{Hold: true, Reason: access.StageRefused, Detail: "the cloud has been out of sight for too long for new deployment actions"}
	}
	return decideAll(r.index(), subject, r.needs(who.Hub, action))
}

// need is one data action, or alternatives of which one is enough.
type need struct {
	scope string
	anyOf []string
}

func (r *deploymentRights) needs(hub bool, action update.Action) []need {
	if !hub {
		if action == update.Get {
			return []need{{r.cfg.Instance.DeviceUpdate.ARMScope, []string{model.DeviceUpdateManagementRead}}}
		}
		return []need{{r.cfg.Instance.DeviceUpdate.ARMScope, []string{model.DeviceUpdateManagementWrite}}}
	}
	scope := r.cfg.Instance.Hub.ARMScope
	switch action {
	case update.Get:
		return []need{{scope, []string{model.IotHubTwinsRead}}}
	case update.Cancel, update.CancelReleased:
		return []need{{scope, []string{model.IotHubConfigurationsWrite, model.IotHubConfigurationsDelete}}, {scope, []string{model.IotHubTwinsWrite}}}
	case update.Diagnose:
		return []need{{r.cfg.Instance.DeviceUpdate.ARMScope, []string{model.DeviceUpdateManagementWrite}}}
	default:
		return []need{{scope, []string{model.IotHubConfigurationsWrite}}, {scope, []string{model.IotHubTwinsWrite}}}
	}
}

func decideAll(ix *authz.Index, s *model.Subject, needs []need) update.Decision {
	var last update.Decision
	for _, n := range needs {
		allowed := false
		for _, action := range n.anyOf {
			x := ix.DecideAction(s, action, n.scope)
			last = update.Decision{Allowed: x.Allowed, Reason: x.Reason.String(), Detail: fmt.Sprintf("%s at %s", action, n.scope)}
			if x.Allowed {
				last.Detail += " by assignment " + x.Record().Assignment.String()
				allowed = true
				break
			}
		}
		if !allowed {
			return last
		}
	}
	return last
}

// subject is whom to ask about. There is no default for the service principal.
func (r *deploymentRights) subject(who update.Initiator) (*model.Subject, error) {
	if !who.Hub {
		var recorded recordedInitiator
		if err := json.Unmarshal(who.Identities, &recorded); err != nil {
			return nil, fmt.Errorf("the initiator's recorded identities are not readable: %w", err)
		}
		if !recorded.GroupsUntil.IsZero() && r.now().After(recorded.GroupsUntil) {
			recorded.Groups, recorded.GroupsKnown = nil, false
		}
		return &recorded.Subject, nil
	}
	p := r.cfg.Instance.DeviceUpdate.Principal
	if p.ObjectID.IsZero() {
		return nil, errors.New("instance.deviceUpdate.principal is not configured: set the object id of the Device Update service principal in your tenant")
	}
	return &model.Subject{
		Identities: []model.Identity{{Kind: model.ServicePrincipalID, Object: p.ObjectID, Tenant: p.TenantID}}, Object: p.ObjectID, GroupsKnown: true,
	}, nil
}

// recordedInitiator is the identity set that is asked about again at release.
// Groups come from a token and count only while it lives (semantics.md 2).
type recordedInitiator struct {
	model.Subject
	GroupsUntil time.Time
}

// initiatorOf records who asks for a local action.
func initiatorOf(p *principal.Principal) update.Initiator {
	ids, err := json.Marshal(recordedInitiator{p.Subject, p.Expires})
	if err != nil {
		return update.Initiator{Name: p.Name} // without identities nothing is allowed
	}
	return update.Initiator{Name: p.Name, Identities: ids}
}

// updateVerifier trusts the production roots, and what a development
// configuration adds by name.
func updateVerifier(c config.DeviceUpdate) (*manifest.Verifier, error) {
	o := manifest.Options{Roots: manifest.ProductionRoots(), AllowTestPackages: c.TrustTestKeys}
	if c.TrustedRoots != "" {
		text, err := os.ReadFile(string(c.TrustedRoots))
		if err != nil {
			return nil, fmt.Errorf("deviceUpdate.trustedRoots: %w", err)
		}
		more, err := manifest.ParseRoots(text)
		if err != nil {
			return nil, fmt.Errorf("deviceUpdate.trustedRoots: %w", err)
		}
		o.Extra = more
	}
	return manifest.NewVerifier(o), nil
}

// rootKeyPackage is the key under which the last root key package is kept.
const rootKeyPackage = "root-key-package"

// useRootKeyPackage applies the package seen last, and then the configured one
// if it is not older: what a package once disabled stays disabled (semantics.md 5).
// An old file, as after a restored backup of the configuration, is named in health; no
// building goes dark for it. Neither does one for a test package seen while test keys were trusted.
func (d *daemon) useRootKeyPackage(v *manifest.Verifier) error {
	bucket := d.store.Bucket("updates")
	stored, err := bucket.Get(rootKeyPackage)
	switch {
	case err == nil:
		if _, err := v.UsePackage(stored); manifest.CodeOf(err) == manifest.TestPackage {
			d.log.Warn("the stored root key package is a test package, which is not trusted any more")
		} else if err != nil {
			return fmt.Errorf("the stored root key package: %w", err)
		}
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	if d.cfg.DeviceUpdate.RootKeyPackage == "" {
		return nil
	}
	raw, err := os.ReadFile(string(d.cfg.DeviceUpdate.RootKeyPackage))
	if err != nil {
		return fmt.Errorf("deviceUpdate.rootKeyPackage: %w", err)
	}
	_, err = v.UsePackage(raw)
	if old := manifest.CodeOf(err) == manifest.OldPackage; old {
		d.health.Raise("root-key-package", health.Degraded, fmt.Sprintf("deviceUpdate.rootKeyPackage is older than the package seen last (version %d), which stays in use", v.Package().Version),
			"put the newest package there; what a later one disabled stays disabled")
		return nil
	}
	if err != nil {
		return fmt.Errorf("deviceUpdate.rootKeyPackage: %w", err)
	}
	bucket.Put(rootKeyPackage, v.Package().Raw, func(err error) {
		if err != nil {
			d.log.Error("the root key package is in use but not stored", "err", err)
		}
	})
	return nil
}

// deploymentPhases counts deployments by phase, for the status page. It
// follows the audit and never asks the guard.
type deploymentPhases struct {
	mu    sync.Mutex
	phase map[string]update.Phase // by device; guarded by mu
}

func (p *deploymentPhases) note(r update.AuditRecord) {
	p.mu.Lock()
	p.phase[r.Device] = r.Phase
	p.mu.Unlock()
}

func (p *deploymentPhases) counts() map[string]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[string]int64{}
	for _, phase := range p.phase {
		n[string(phase)]++
	}
	return n
}

// deploymentRecord is what the audit keeps of a decision of the guard.
func deploymentRecord(r update.AuditRecord) message.Record {
	return message.Record{
		Time: r.Time, Event: "deployment", Allowed: r.Allowed, Principal: r.Who, ClientID: r.Device,
		Topic: string(r.Action) + " " + r.Workflow, Reason: r.Reason, Detail: fmt.Sprintf("%s %s %s", r.Phase, r.Update, r.Detail), Count: 1,
	}
}
