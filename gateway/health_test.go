package gateway

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/store"
)

// warned is the text of a warning, "" if it is not raised.
func warned(d *daemon, name string) string {
	all := d.health.Report().Warnings
	if i := slices.IndexFunc(all, func(w health.Warning) bool { return w.Name == name }); i >= 0 {
		return all[i].Text
	}
	return ""
}

// A refused role and a record that collides are named, so that whoever wonders
// why something is denied finds it.
func TestHealthNamesWhatIsRefused(t *testing.T) {
	d := &daemon{reports: reports{health: health.New(nil)}}
	odd := model.Role{ID: space.NewID(), Name: "Odd",
		Permissions: []model.Permission{{Actions: model.Read, Condition: "@Resource.Owner == 'me'"}}}
	_, policy := authz.Compile(model.Snapshot{Roles: append(model.SystemRoles(), odd)})
	_, topology := device.NewTopology(device.Data{Devices: []device.Device{{ID: space.ID{1}, HubID: "same"},
		{ID: space.ID{2}, HubID: "same"}}}, device.Options{})
	policyEffects{d}.Problems(policy, topology)
	if text := warned(d, "policy-problems"); !strings.Contains(text, "Odd") || !strings.Contains(text, odd.ID.String()) {
		t.Errorf("the refused role is not named: %q", text)
	}
	if text := warned(d, "topology-problems"); !strings.Contains(text, (space.ID{1}).String()) || !strings.Contains(text, "duplicate-hub-id") {
		t.Errorf("the refused records are not named: %q", text)
	}
	policyEffects{d}.Problems(nil, nil)
	if len(d.health.Report().Warnings) != 0 {
		t.Errorf("%+v", d.health.Report().Warnings)
	}
}

func TestSHA1ThumbprintsAreWarnedOf(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		s, err := store.Open(t.TempDir(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d := &daemon{
			cfg:     config.Default(),
			log:     slog.New(slog.DiscardHandler),
			reports: reports{health: health.New(nil)},
			core:    core{store: s},
		}
		d.cfg.Instance.Hub.Host = "hub"
		d.cfg.Identity.X509.AllowSHA1 = allowed
		err = d.buildIdentity()
		if got := warned(d, "x509-sha1") != ""; err != nil || got != allowed {
			t.Errorf("allowed %v: warned %v, %v", allowed, got, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
