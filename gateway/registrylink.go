package gateway

import (
	"context"

	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/registry"
	"github.com/gatehouse/gatehouse/sync/client"
)

// buildRegistry makes the part that answers registry requests. Without a management API
// it refuses creates.
func (d *daemon) buildRegistry() error {
	o := registry.Options{
		Store:       d.store.Bucket("registry-creates"),
		Topology:    d.policy.Topology,
		May:         d.mayCreate,
		MayRead:     d.access.MayReadSensor,
		SendSession: d.broker.SendSession,
		Audit:       d.ledger.Audit,
		Self:        d.self(),
		Log:         d.log,
		Now:         d.clock.Now,
		Report:      func(waiting int, why error) { warnings.RegistryCreates(d.health, waiting, why) },
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

// mayCreate decides a queued create again.
func (d *daemon) mayCreate(p *principal.Principal, deviceID, hardwareID string) registry.Decision {
	if !d.policy.Loaded() {
		// There is no policy yet: that is no reason to drop a create that was acknowledged.
		return registry.Decision{Hold: true, Reason: access.NoPolicy}
	}
	v, hold := d.access.CreateAgain(p, deviceID, hardwareID)
	return registry.Decision{Allowed: v.Allowed, Hold: hold, Reason: v.Reason, Detail: v.Detail}
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
