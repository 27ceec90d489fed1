package preflight

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

func TestTakenPortsAreWarnings(t *testing.T) {
	port, err := freeport.Get() // nobody else takes it when it is free again
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	cfg := config.Default()
	cfg.State.Dir = config.File(t.TempDir())
	cfg.Listeners = []config.Listener{{Name: "free", Address: "127.0.0.1:0"}, {Name: "taken", Address: other.Addr().String()},
		{Kind: config.KindUnix, Address: "/x"}}
	cfg.Admin.Address = other.Addr().String()
	got := taken(&cfg)
	if fields := fieldsOf(got); !slices.Equal(fields, []string{"listeners[1].address", "admin.address"}) || !got[0].Warning {
		t.Errorf("%v", got)
	}
	other.Close()
	if got := taken(&cfg); len(got) > 0 {
		t.Errorf("after it has ended: %v", got)
	}
}
