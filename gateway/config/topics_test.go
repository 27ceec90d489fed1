package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTopicMappings: a mapping that says nothing about QoS has 1, and one that says 0 has 0.
func TestTopicMappings(t *testing.T) {
	c, problems := load("testdata/good/bridge.yaml", credentials)
	for _, p := range problems {
		t.Error(p)
	}
	want := TopicMappings{
		Up: []UpMapping{
			{Filter: "site/alarms/#", Topic: "plant7/alarms/{device}", QoS: 1},
			{Filter: "site/#", From: "site/", To: "plant7/", QoS: 0},
		},
		Down: []DownMapping{
			{Filter: "plant7/#", From: "plant7/", To: "site/", QoS: 1},
			{Filter: "notices/#", QoS: 2},
		},
	}
	if diff := cmp.Diff(want, c.Upstream.MQTT.Topics); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !c.Upstream.MQTT.Bridge {
		t.Error("bridge is not read")
	}
}

// TestUnusedMappingsAreNamed: what has no effect is said, and starts all the same.
func TestUnusedMappingsAreNamed(t *testing.T) {
	text, err := os.ReadFile("testdata/good/bridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f := filepath.Join(t.TempDir(), "unused.yaml")
	changed := strings.Replace(string(text), "      down:\n",
		"        - {filter: \"site/b\", to: x/}\n        - {filter: \"doors/#\", to: x/}\n      down:\n", 1)
	if err := os.WriteFile(f, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems := load(f, credentials)
	for _, p := range problems {
		t.Error(p)
	}
	var got []string
	for _, w := range c.Warnings() {
		got = append(got, w.Field+" "+w.Message)
	}
	want := []string{
		"upstream.mqtt.topics.up[1].qos is at most once: what is on its way when the connection ends is lost",
		"upstream.mqtt.topics.up[2].filter is never used: site/# stands before it and takes the same topics",
		"upstream.mqtt.topics.up[3].filter is never used: no route sends such topics up",
		"upstream.mqtt.topics.down[1].qos is read as 1: the link upstream goes no higher",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestBridgeAllowsTheSameTopics: what is a loop without it is none with it.
func TestBridgeAllowsTheSameTopics(t *testing.T) {
	text, err := os.ReadFile("testdata/good/bridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f := filepath.Join(t.TempDir(), "no-bridge.yaml")
	if err := os.WriteFile(f, []byte(strings.Replace(string(text), "    bridge: on\n", "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, problems := load(f, credentials)
	if len(problems) != 1 || problems[0].Field != "upstream.mqtt.topics.down[0].filter" || !strings.Contains(problems[0].Hint, "bridge: on") {
		t.Errorf("want one loop: %v", problems)
	}
}
