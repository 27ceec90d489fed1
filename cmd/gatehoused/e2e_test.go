package main

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
)

// house is the demo building with its cloud, shared by every test that does
// not change it for others.
var house *e2e.House

func TestMain(m *testing.M) {
	for _, tool := range []string{"mosquitto", "mosquitto_pub", "mosquitto_sub", "stdbuf", "systemd-socket-activate"} {
		if _, err := exec.LookPath(tool); err != nil {
			fmt.Fprintf(os.Stderr, "%s is needed for these tests: make deps installs it\n", tool)
			os.Exit(1)
		}
	}
	h, err := e2e.Open("../../configs/demo-topology.yaml")
	if err != nil {
		fmt.Fprintln(os.Stderr, "the demo building:", err)
		os.Exit(1)
	}
	house = h
	code := m.Run()
	h.Close()
	os.Exit(code)
}

// serving runs a gateway of the house until the test ends.
func serving(t *testing.T, s e2e.Settings) *e2e.Gateway {
	t.Helper()
	g := house.NewGateway(t, s)
	g.Up(t)
	return g
}
