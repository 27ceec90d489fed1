package access_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/authztest/scenario"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// initiators is a scenario: a policy of Azure role assignments, and which deployment actions
// each initiator may start under it. "adu" names the configured service principal of the Device
// Update service.
type initiators struct {
	scenario.Head `yaml:",inline"`
	World         struct {
		Assign []string // "IoT Hub Data Contributor to service adu at hub"; at hub, instance, or an ARM id
		Denies []string // "{data action} at hub"
		Roles  []struct {
			Name        string
			DataActions []string `yaml:"dataActions"`
		}
		Principal string // the configured one; "adu", or "none"
		Stage     string
		Keep      bool `yaml:"keep_after_expiry"`
	}
	Then []struct {
		Who    string   // "hub", or a local initiator: "user u1", "service s1", "user u1 in g1"
		Late   bool     // its token has expired since
		Device string   // any
		May    []string // actions
		MayNot []string `yaml:"may_not"`
		Hold   []string
		Reason string // of the refusals and holds
	}
}

func TestInitiatorScenarios(t *testing.T) {
	scenario.RunBelow(t, "deployments", func(t *testing.T, s initiators) {
		h := initiatorScene{ids: map[string]space.ID{}, now: time.Unix(1_800_000_000, 0)}
		moment := h.now
		rights := h.build(t, &s, func() time.Time { return moment })
		for i, q := range s.Then {
			who := update.Initiator{Hub: q.Who == "hub"}
			if !who.Hub {
				who = access.Initiator(h.principal(t, q.Who))
			}
			moment = h.now
			if q.Late {
				moment = moment.Add(2 * time.Hour)
			}
			ask := func(actions []string, allowed, hold bool) {
				for _, a := range actions {
					d := rights.May(t.Context(), who, update.Action(a), cmp.Or(q.Device, "d1"))
					if d.Allowed != allowed || d.Hold != hold || !allowed && d.Reason != q.Reason {
						t.Errorf("question %d: %s may %s: %+v, want allowed %v, hold %v, %s", i+1, q.Who, a, d, allowed, hold, q.Reason)
					}
				}
			}
			ask(q.May, true, false)
			ask(q.MayNot, false, false)
			ask(q.Hold, false, true)
			if len(q.May)+len(q.MayNot)+len(q.Hold) == 0 {
				t.Errorf("question %d asks nothing", i+1)
			}
		}
	})
}

const (
	scenarioHub      = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/h"
	scenarioInstance = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DeviceUpdate/accounts/a/instances/i"
)

type initiatorScene struct {
	ids map[string]space.ID
	now time.Time
}

func (h *initiatorScene) id(name string) space.ID {
	if _, ok := h.ids[name]; !ok {
		h.ids[name] = space.NewID()
	}
	return h.ids[name]
}

func (h *initiatorScene) build(t *testing.T, s *initiators, now func() time.Time) *access.Deployments {
	t.Helper()
	policy := model.Snapshot{Version: model.Version{Epoch: 1, Number: 1}, Roles: model.SystemRoles(), AzureRoles: model.AzureBuiltInRoles()}
	for _, r := range s.World.Roles {
		policy.AzureRoles = append(policy.AzureRoles, model.AzureRole{ID: h.id("role " + r.Name), Name: r.Name, DataActions: r.DataActions})
	}
	scope := func(at string) string {
		return cmp.Or(map[string]string{"hub": scenarioHub, "instance": scenarioInstance}[at], at)
	}
	for i, text := range s.World.Assign {
		role, rest, _ := strings.Cut(text, " to ")
		who, at, _ := strings.Cut(rest, " at ")
		kind, name, _ := strings.Cut(who, " ")
		n := slices.IndexFunc(policy.AzureRoles, func(r model.AzureRole) bool { return r.Name == role })
		typ, ok := map[string]model.AzurePrincipalType{"user": model.AzureUser, "service": model.AzureServicePrincipal,
			"group": model.AzureGroup}[kind]
		if n < 0 || !ok || at == "" {
			t.Fatalf("assignment %q", text)
		}
		policy.AzureAssignments = append(policy.AzureAssignments, model.AzureAssignment{
			ID: h.id(fmt.Sprint("assignment ", i)), Role: policy.AzureRoles[n].ID, Scope: scope(at),
			Who: model.AzurePrincipal{ID: h.id(name), Type: typ},
		})
	}
	for i, text := range s.World.Denies {
		action, at, _ := strings.Cut(text, " at ")
		policy.AzureDenies = append(policy.AzureDenies, model.AzureDeny{
			ID: h.id(fmt.Sprint("deny ", i)), Scope: scope(at), DataActions: []string{action},
			Principals: []model.AzurePrincipal{{Type: model.AzureEveryone}},
		})
	}
	ix, problems := authz.Compile(policy)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var service model.Identity
	if s.World.Principal != "none" {
		service = model.Identity{Kind: model.ServicePrincipalID, Object: h.id(cmp.Or(s.World.Principal, "adu")), Tenant: h.id("home")}
	}
	stage := offline.Stage(max(0, slices.Index([]string{"fresh", "stale", "restricted", "expired"}, s.World.Stage)))
	empty, _ := device.NewTopology(device.Data{}, device.Options{})
	return access.New(access.Options{
		Facts:           func() (*authz.Index, *device.Topology) { return ix, empty },
		Stage:           func() offline.Stage { return stage },
		HubScope:        scenarioHub,
		InstanceScope:   scenarioInstance,
		KeepAfterExpiry: s.World.Keep,
	}).Deployments(service, now)
}

// principal is a local initiator with a token that lives for an hour.
func (h *initiatorScene) principal(t *testing.T, text string) *principal.Principal {
	t.Helper()
	kind, name, _ := strings.Cut(text, " ")
	name, group, in := strings.Cut(name, " in ")
	p := &principal.Principal{Name: name, Expires: h.now.Add(time.Hour)}
	p.Subject.Object, p.Subject.GroupsKnown = h.id(name), true
	if in {
		p.Subject.Groups = []space.ID{h.id(group)}
	}
	identity := model.Identity{Kind: model.UserID, Object: h.id(name), Tenant: h.id("home")}
	switch kind {
	case "user":
	case "service":
		identity.Kind = model.ServicePrincipalID
	default:
		t.Fatalf("principal %q", text)
	}
	p.Subject.Identities = []model.Identity{identity}
	return p
}

// An initiator whose recorded identities cannot be read may do nothing.
func TestUnreadableInitiatorMayNothing(t *testing.T) {
	h := initiatorScene{ids: map[string]space.ID{}, now: time.Unix(1_800_000_000, 0)}
	var s initiators
	s.World.Assign = []string{"Device Update Administrator to user u1 at instance"}
	rights := h.build(t, &s, func() time.Time { return h.now })
	who := access.Initiator(h.principal(t, "user u1"))
	if !json.Valid(who.Identities) || !rights.May(t.Context(), who, update.Create, "d1").Allowed {
		t.Fatalf("%s", who.Identities)
	}
	who.Identities = who.Identities[:len(who.Identities)-1]
	if d := rights.May(t.Context(), who, update.Create, "d1"); d.Allowed || d.Reason != "no-initiator" {
		t.Errorf("%+v", d)
	}
}
