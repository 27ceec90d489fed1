package gateway

import (
	"context"
	"fmt"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/registry"
	"github.com/gatehouse/gatehouse/sync/client"
)

// buildRegistry makes what answers registry requests; creates are refused
// without a management API.
func (d *daemon) buildRegistry() error {
	o := registry.Options{
		Store: d.store.Bucket("registry-creates"), Topology: d.policy.Topology, May: d.mayCreate, MayRead: d.mayReadSensor,
		SendSession: d.broker.SendSession, Audit: d.ledger.Audit, Self: d.self(), Log: d.log, Now: d.clock.Now,
		Report: func(waiting int, why error) {
			d.health.Set(why != nil, "registry-creates", health.Degraded, fmt.Sprintf("%d sensors wait to be created in the cloud: %v", waiting, why),
				"see that cloud.management can be reached; they are sent by themselves")
		},
	}
	if d.cloud != nil {
		o.Creator = sensorCreator{d.cloud}
	}
	var err error
	if d.registrar, err = registry.New(o); err != nil {
		return err
	}
	return d.registrar.Load()
}

// mayCreate decides a queued create again, as the publish that it was, by the
// identities of then and the policy of now.
func (d *daemon) mayCreate(p *principal.Principal, deviceID, hardwareID string) registry.Decision {
	if !d.policy.Loaded() {
		// Nothing is known yet: that is no reason to drop what was acknowledged.
		return registry.Decision{Hold: true, Reason: access.NoPolicy}
	}
	// Who may no longer be connected may publish nothing, either.
	v := d.access.Open(p).Publish("registry/devices/"+deviceID+"/sensors/"+hardwareID+"/create", nil)
	x := registry.Decision{Allowed: v.Allowed, Reason: v.Reason, Detail: v.Detail}
	switch v.Reason {
	case access.NoPolicy, access.CacheExpired, access.StageRefused:
		x.Hold = !v.Allowed
	}
	return x
}

// mayReadSensor: Read Sensor at the sensor's own path, or device_self_grant.
func (d *daemon) mayReadSensor(p *principal.Principal, s *device.Sensor) bool {
	if d.cfg.Access.DeviceSelfGrant && p.Kind == principal.Device && s.Device == p.Node {
		return true
	}
	index, topology := d.policy.Facts()
	at := topology.SensorPath(s)
	return index.Decide(&p.Subject, model.Operation{Access: model.Read, Type: model.Sensor}, at).Allowed
}

// sensorCreator is registry.Creator over the management API's client.
type sensorCreator struct{ c *client.Client }

// CreateSensor implements registry.Creator.
func (s sensorCreator) CreateSensor(ctx context.Context, n registry.Sensor) (string, int, error) {
	id, status, err := s.c.CreateSensor(ctx, client.NewSensor{
		DeviceID: n.Device, SpaceID: n.Space, HardwareID: n.HardwareID, Port: n.Port, PollRate: n.PollRate,
		Type: n.Type, TypeID: n.TypeID, DataType: n.DataType, DataTypeID: n.DataTypeID,
	})
	if id.IsZero() {
		return "", status, err
	}
	return id.String(), status, err
}
