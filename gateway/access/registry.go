package access

import (
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// CreateAgain decides a queued sensor create again before it is carried to the
// cloud: as the publish that it was, by the identities of then and the policy
// of now. A principal that may no longer be connected may publish nothing,
// either. hold tells that a refusal is for now only and that the create, which
// was acknowledged, must be kept.
func (c *Control) CreateAgain(p *principal.Principal, deviceID, hardwareID string) (v message.Verdict, hold bool) {
	v = c.Open(p).Publish("registry/devices/"+deviceID+"/sensors/"+hardwareID+"/create", nil)
	switch v.Reason {
	case NoPolicy, CacheExpired, StageRefused:
		hold = !v.Allowed
	}
	return v, hold
}

// MayReadSensor decides whether an answer about a device shows the sensor:
// Read Sensor at the sensor's own path, or device_self_grant.
func (c *Control) MayReadSensor(p *principal.Principal, s *device.Sensor) bool {
	e := c.env()
	if !e.ready {
		return false
	}
	if c.set.selfGrant && p.Kind == principal.Device && s.Device == p.Node {
		return true
	}
	return e.policy.Decide(&p.Subject, readSensor.ops[0], e.topology.SensorPath(s)).Allowed
}
