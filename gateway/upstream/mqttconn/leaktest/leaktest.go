// Package leaktest looks for goroutines that outlived the tests of whatever
// connects through mqttconn. It has more patience than goleak alone: the MQTT
// library holds a publisher for its write timeout if the connection ended
// under it.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is more than the library's write timeout, on the busiest machine.
const patience = 90 * time.Second

// Main runs the tests and fails if a goroutine is left.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Find returns an error that names the goroutines that do not end.
func Find(except ...goleak.Option) error {
	end := time.Now().Add(patience)
	for {
		err := goleak.Find(except...)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
