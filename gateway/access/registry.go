package access

import (
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// CreateAgain decides a queued sensor create again before it is sent to the cloud. It is
// decided as a publish, by the identities that the principal had when it asked and by the
// policy in force now; a principal that may no longer connect is refused. hold is true for a
// refusal that may not last: the create has been acknowledged, so it must be kept.
func (c *Control) CreateAgain(p *principal.Principal, deviceID, hardwareID string) (v message.Verdict, hold bool) {
	v = c.Open(p).Publish("registry/devices/"+deviceID+"/sensors/"+hardwareID+"/create", nil)
	switch v.Reason {
	case NoPolicy, CacheExpired, StageRefused:
		hold = !v.Allowed
	}
	return v, hold
}

// MayReadSensor decides whether an answer about a device lists the sensor: the principal needs
// Read Sensor at the sensor's path, or the right by device_self_grant, as it would to receive the
// sensor's readings.
func (c *Control) MayReadSensor(p *principal.Principal, s *device.Sensor) bool {
	d := decider{env: c.env(), p: p}
	if !d.ready {
		return false
	}
	ok, _, _ := d.decide(readSensor.ops[0], d.sensorPlace(s))
	return ok
}
