package gateway

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/listeners"
)

// Each limit of a listener's configuration is the one that holds at its door.
func TestEachLimitReachesItsListener(t *testing.T) {
	var c config.Listener
	fields := reflect.ValueOf(&c.Limits).Elem()
	for i := range fields.NumField() {
		switch f := fields.Field(i); f.Kind() {
		case reflect.Float64:
			f.SetFloat(float64(1 + i))
		default:
			f.SetInt(int64(1 + i))
		}
	}
	door := listeners.New(time.Now, func([]listeners.Finding) {}).Add(listeners.Spec{
		Name: "door",
		Open: opener(&config.Listener{Address: "127.0.0.1:0"}),
	})
	defer func() { _ = door.Close() }()
	want := broker.Limits{
		Handshake:      c.Limits.HandshakeTimeout,
		Connect:        c.Limits.ConnectTimeout,
		ConnectPacket:  int(c.Limits.MaxConnectPacket),
		Pending:        c.Limits.MaxUnauthenticated,
		PerAddress:     c.Limits.MaxPerAddress,
		RatePerAddress: c.Limits.RatePerAddress,
		MaxConnections: c.Limits.MaxConnections,
	}
	got := brokerListener(&c, door).Limits
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	set := 0
	for i := range reflect.TypeFor[broker.Limits]().NumField() {
		if !reflect.ValueOf(got).Field(i).IsZero() {
			set++
		}
	}
	if set != fields.NumField() {
		t.Errorf("%d of %d limits are handed over", set, fields.NumField())
	}
}
