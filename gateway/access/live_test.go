package access

import (
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// A session stays connected only while its principal holds the right to connect and its
// credential would be accepted. If both are lost, the lost right is reported, not the expiry.
func TestLiveRightsEndWithTheCredential(t *testing.T) {
	w := newWorld(t)
	grant := w.assign(deviceIdentity(1), model.GatewayDeviceRole, sitePath)
	var lost *principal.Refusal
	decided := 0
	live := &Live{
		Control: w.open(),
		Still:   func(*principal.Principal) *principal.Refusal { return lost },
		Decided: func(time.Duration) { decided++ },
	}
	dev := live.Open(devicePrincipal(1, "dev1"))
	w.want(dev.Connect(), true, "", "right and credential")
	lost = &principal.Refusal{Reason: "wrong-key", Detail: "the key was rolled", Code: 0x87}
	w.want(dev.Connect(), false, "wrong-key", "a rolled key")
	lost = &principal.Refusal{Reason: "expired", Code: 0x87}
	w.want(dev.Connect(), false, "expired", "an expired token")
	w.revoke(grant)
	w.want(dev.Connect(), false, "no-assignment", "an expired token whose right is lost")
	lost = nil
	w.want(dev.Connect(), false, "no-assignment", "a lost right")
	for range 2 * sampleEvery {
		dev.Publish("devices/dev1/messages/events/", nil)
	}
	if decided != 2 {
		t.Errorf("measured %d publishes, want one in %d", decided, sampleEvery)
	}
}

// A refused filter is Filterable if a listener that decides each delivery may accept it.
func TestLiveRightsSayWhatAFilteringListenerMayTake(t *testing.T) {
	w := newWorld(t)
	w.assign(userIdentity(9), model.UserRole, room1Path)
	live := &Live{Control: w.open(), Still: func(*principal.Principal) *principal.Refusal { return nil }}
	user := live.Open(userPrincipal(9))
	if v := user.Subscribe("spaces/#"); v.Allowed || !v.Filterable {
		t.Errorf("wider than what is readable: %+v", v)
	}
	if v := user.Subscribe("devices/+/messages/devicebound/#"); v.Allowed {
		t.Errorf("never readable: %+v", v)
	}
}

// A queued create is held while it cannot be decided, and in no other case.
func TestCreateAgainHoldsWhatCannotBeDecided(t *testing.T) {
	w := newWorld(t)
	gw := devicePrincipal(3, "gw")
	grant := w.assign(deviceIdentity(3), model.GatewayDeviceRole, sitePath)
	m := w.open()
	ask := func(what string, allowed, hold bool) {
		t.Helper()
		if v, held := m.CreateAgain(gw, "child", "new1"); v.Allowed != allowed || held != hold {
			t.Errorf("%s: %+v, hold %v", what, v, held)
		}
	}
	ask("granted", true, false)
	w.stage = offline.Restricted
	ask("the cloud is out of sight", false, true)
	w.stage = offline.Fresh
	w.revoke(grant)
	ask("the right is gone", false, false)
	w.index = nil
	ask("no policy", false, true)
	s, _ := w.topology.SensorByHardwareID("childtemp")
	if m.MayReadSensor(gw, s) {
		t.Error("a sensor is shown without a policy")
	}
}
