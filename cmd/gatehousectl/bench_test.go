package main

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/gateway/broker/frame"
)

// swallower acknowledges every publish and delivers none; or it refuses every connection.
func swallower(t *testing.T, connack byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer c.Close(); swallow(c, connack) })
		}
	})
	return "mqtt://" + l.Addr().String()
}

func swallow(c net.Conn, connack byte) {
	for r := frame.NewReader(c, 1<<20); ; {
		f, err := r.Next()
		if err != nil {
			return
		}
		switch f.Type() {
		case frame.CONNECT:
			_, _ = c.Write([]byte{0x20, 2, 0, connack})
		case frame.SUBSCRIBE:
			_, _ = c.Write([]byte{0x90, 3, f.Body[0], f.Body[1], 1})
		case frame.PUBLISH:
			p, _ := frame.ParsePublish(f, 4, frame.Limits{})
			_, _ = c.Write(frame.AppendAck(nil, frame.PUBACK, p.ID, 0, 4))
		}
	}
}

// TestBenchSaysNo: what was acknowledged and did not arrive makes the exit code 3, in words and as JSON.
func TestBenchSaysNo(t *testing.T) {
	server := swallower(t, 0)
	args := []string{"bench", "fan-in", "--server", server, "--clients", "2", "--count", "5", "--qos", "1", "--drain", "50ms"}
	var out, problems bytes.Buffer
	if code := run(t.Context(), args, &out, &problems); code != exitNo {
		t.Errorf("code %d, want %d: %s", code, exitNo, problems.String())
	}
	for _, want := range []string{
		"received     0 of 10",
		"10 lost, 10 of them acknowledged",
		"10 messages were acknowledged and did not arrive",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out.String())
		}
	}
	out.Reset()
	if code := run(t.Context(), append([]string{"--json"}, args...), &out, &problems); code != exitNo {
		t.Errorf("JSON: code %d", code)
	}
	var r load.Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.LostAcknowledged != 10 || r.Sent != 10 {
		t.Errorf("%v: %s", err, out.String())
	}
	out.Reset()
	if code := run(t.Context(), []string{"bench", "pub", "--server", server, "--count", "5", "--qos", "1"}, &out, &problems); code != 0 {
		t.Errorf("nobody was to receive anything: code %d\n%s", code, out.String())
	}
}

func TestBenchIsRefused(t *testing.T) {
	server := swallower(t, 5)
	var out, problems bytes.Buffer
	args := []string{"bench", "pub", "--server", server, "--user", "a", "--password", "wrong"}
	if code := run(t.Context(), args, &out, &problems); code != exitFailed {
		t.Errorf("code %d, want %d", code, exitFailed)
	}
	if !strings.Contains(problems.String(), "the broker refuses the connection: not authorized (0x05)") {
		t.Error(problems.String())
	}
	if code := run(t.Context(), []string{"bench", "connect", "--server", server, "--count", "3"}, &out, &problems); code != exitNo {
		t.Errorf("a storm that is refused: code %d, want %d", code, exitNo)
	}
	if !strings.Contains(out.String(), "3: the broker refuses the connection: not authorized (0x05)") {
		t.Error(out.String())
	}
}

func TestBenchTopics(t *testing.T) {
	c := load.Client{ID: "door-1"}
	for topic, want := range map[string][2]string{
		"bench/{id}":              {"bench/door-1", "bench/+"},
		"devices/{id}/messages/x": {"devices/door-1/messages/x", "devices/+/messages/x"},
		"a/n{n}/{id}":             {"a/n7/door-1", "a/+/+"},
		"the/same":                {"the/same", "the/same"},
	} {
		if got := [2]string{named(topic)(7, c), filterOf(topic)}; got != want {
			t.Errorf("%s: %q, want %q", topic, got, want)
		}
	}
}

func TestBarText(t *testing.T) {
	half := load.Progress{Elapsed: 5 * time.Second, Sent: 1000, Received: 900, Done: 0.5}
	if got, want := barText(half, load.Progress{Elapsed: 4 * time.Second, Sent: 500, Received: 500}),
		"[===============               ]  50 %   5.0 s  sent 500/s  acknowledged 0/s  received 400/s"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	got, want := barText(load.Progress{Connected: 3, ToBeReached: 10}, half), "[=========                     ]  30 % 3 of 10 connected"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if newBar(&bytes.Buffer{}).w != nil {
		t.Error("a bar outside a terminal")
	}
}
