//nolint:misspell // the client is called so
package broker_test

import (
	"bufio"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Real clients: mosquitto's, over both levels.
func TestMosquittoClients(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is not installed (Debian: apt-get install mosquitto-clients)", tool)
		}
	}
	for _, version := range []string{"311", "5"} {
		for _, qos := range []string{"0", "1", "2"} {
			t.Run(version+" qos"+qos, func(t *testing.T) {
				t.Parallel()
				h := start(t)
				host, port, _ := strings.Cut(h.addr, ":")
				args := []string{"-h", host, "-p", port, "-V", "mqttv" + version, "-q", qos, "-t", "real/topic"}
				sub := exec.Command("mosquitto_sub", append(args, "-u", "sub", "-i", "sub", "-C", "3", "-W", "120", "-v")...)
				out, err := sub.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := sub.Start(); err != nil {
					t.Fatal(err)
				}
				h.until("mosquitto_sub subscribes", func() bool { return h.Stats().Subscriptions == 1 })
				for i, m := range []string{"one", "two", "three"} {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it waits for an answer as long as none comes
					defer cancel()
					pub := exec.CommandContext(ctx, "mosquitto_pub", append(args, "-u", "pub", "-i", "pub", "-m", m)...)
					if text, err := pub.CombinedOutput(); err != nil {
						t.Fatalf("mosquitto_pub: %v\n%s", err, text)
					}
					// With QoS 0 it does not wait: the next of its name would take over what is not read yet.
					// Only the subscriber is left, until it leaves after the third.
					h.until("all of it is read", func() bool { st := h.Stats(); return st.Received > uint64(i) && st.Connections <= 1 })
				}
				var got []string
				for lines := bufio.NewScanner(out); lines.Scan(); {
					got = append(got, lines.Text())
				}
				if err := sub.Wait(); err != nil {
					t.Errorf("mosquitto_sub: %v", err)
				}
				if want := "real/topic one|real/topic two|real/topic three"; strings.Join(got, "|") != want {
					t.Errorf("got %q, want %s", got, want)
				}
			})
		}
	}
}
