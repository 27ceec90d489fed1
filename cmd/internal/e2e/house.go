package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// House is the demo building: its keys, and its cloud as a process. The
// binaries are in bin of its directory.
type House struct {
	*site.Site
	Cloud *Process
}

// Open makes the building in a directory of its own and starts its cloud. Close ends it.
func Open(seedFile string) (_ *House, err error) {
	dir, err := os.MkdirTemp("", "gh")
	if err != nil {
		return nil, err
	}
	h := &House{}
	defer func() {
		if err != nil {
			h.close(dir)
		}
	}()
	port, err := freeport.Get()
	if err != nil {
		return nil, err
	}
	h.Site, err = site.Prepare(site.Options{Dir: dir, Seed: seedFile, Ports: site.Ports{API: port}})
	if err != nil {
		return nil, err
	}
	if err = os.Mkdir(h.File("bin"), 0o700); err != nil {
		return nil, err
	}
	if err = Build(h.File("bin")); err != nil {
		return nil, err
	}
	return h, h.startCloud()
}

// startCloud starts the management API and waits until it answers.
func (h *House) startCloud() error {
	p, err := launch(nil, h.Bin("managementd"), "-config", h.CloudFile())
	if err != nil {
		return err
	}
	h.Cloud = p
	err = p.Ready(context.Background(), Patience, func(ctx context.Context) error { return h.Get(ctx, h.URL("/healthz"), nil) })
	if err != nil {
		return fmt.Errorf("%w\n%s", err, Tail(p.Text(), 20))
	}
	return nil
}

// Close ends the cloud and removes everything.
func (h *House) Close() { h.close(h.Dir) }

func (h *House) close(dir string) {
	if h.Cloud != nil {
		h.Cloud.Kill()
	}
	_ = os.RemoveAll(dir)
}

// Bin is a program that was built.
func (h *House) Bin(name string) string { return filepath.Join(h.Dir, "bin", name) }

// Token is a bearer token for the gateway, from the development issuer.
func (h *House) Token(t testing.TB, name string) string {
	t.Helper()
	token, err := h.Site.Token(context.Background(), site.Gateway, name)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Assign gives a device a role and returns the assignment's id.
func (h *House) Assign(t testing.TB, role, deviceID, path string) string {
	t.Helper()
	id, err := h.Site.Assign(context.Background(), role, "DeviceId", deviceID, path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Withdraw deletes an assignment.
func (h *House) Withdraw(t testing.TB, id string) {
	t.Helper()
	if err := h.Site.Withdraw(context.Background(), id); err != nil {
		t.Fatal(err)
	}
}

// Keys is the issuer's key set, as JSON.
func (h *House) Keys(t testing.TB) string {
	t.Helper()
	var set json.RawMessage
	if err := h.Get(context.Background(), h.KeysURL(), &set); err != nil {
		t.Fatal(err)
	}
	return string(set)
}
