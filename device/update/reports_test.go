package update

import (
	"context"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

func TestAcknowledgementsOfWithheldVersions(t *testing.T) {
	b := newBench(t, nil)
	ack := func(av string) strictjson.Value {
		t.Helper()
		r, err := b.guard.Reported(
			t.Context(),
			"d1",
			js(t, `{"deviceUpdate":{"__t":"c","service":{"value":{"x":1},"ac":200,"ad":"","av":`+av+`}}}`),
		)
		if err != nil {
			t.Fatal(err)
		}
		return r.Now.At("deviceUpdate", "service")
	}
	b.patch(applyService("w1", "", "1.1"), true) // version 1
	b.denied[Create] = unauthorised
	b.patch(applyService("w2", "", "1.2"), true) // 2
	b.raw(`{"x":1}`, true)                       // 3
	for av, want := range map[string]string{"1": "200", "2": "406", "3": "406"} {
		if got := ack(av).Get("ac").Literal(); got != want {
			t.Errorf("version %s acknowledged with %s, want %s", av, got, want)
		}
	}
	delete(b.denied, Create)
	b.look(true)
	if got := ack("3").Get("ac").Literal(); got != "200" {
		t.Errorf("after it was shown: %s", got)
	}
	b.denied[Create] = Decision{Hold: true, Reason: "restricted"}
	b.patch(applyService("w3", "", "1.3"), true)
	if got := ack("4"); got.Kind() != strictjson.Absent {
		t.Errorf("held: %s", got.Bytes())
	}
}

func TestReportsNeedReading(t *testing.T) {
	b := newBench(t, nil)
	b.denied[Get] = unauthorised
	r, err := b.guard.Reported(
		t.Context(),
		"d1",
		js(t, `{"deviceUpdate":{"agent":{"state":0}},"DeviceInformation":{"a":1},"deviceInformation":{"a":1},"temp":5}`),
	)
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Now.Bytes()) != `{"temp":5}` || len(r.Later.Members()) != 3 {
		t.Errorf("now %s later %s", r.Now.Bytes(), r.Later.Bytes())
	}
	if b.guard.MayReport(t.Context(), "d1") {
		t.Error("may report")
	}
	b.broken = true
	if _, err := b.guard.Reported(t.Context(), "d1", js(t, `{"deviceUpdate":{"agent":{"deviceProperties":{"model":"new"}}}}`)); err == nil {
		t.Error("acknowledged what was not journalled")
	}
}

func TestReauthorizeLooksOnlyWhereItMatters(t *testing.T) {
	var looked []string
	b := newBench(t, func(o *Options) { o.Recheck = func(d string) { looked = append(looked, d) } })
	recheck := func() string {
		t.Helper()
		looked = nil
		if err := b.guard.Reauthorize(t.Context()); err != nil {
			t.Fatal(err)
		}
		return strings.Join(looked, " ")
	}
	b.patch(applyService("w1", "", "1.1"), true)
	if got := recheck(); got != "" {
		t.Errorf("looked at %q: nothing is open", got)
	}
	b.denied[Create] = unauthorised
	b.patch(applyService("w2", "", "1.2"), true)
	if got := recheck(); got != "d1" {
		t.Errorf("a refusal: looked at %q", got)
	}
	delete(b.denied, Create)
	b.look(true)
	b.denied[Get] = unauthorised
	b.report(`{"state":6,"workflow":{"id":"w2"}}`)
	if got := recheck(); got != "d1" {
		t.Errorf("a withheld report: looked at %q", got)
	}
	b.restart()
	if got := recheck(); got != "d1" {
		t.Errorf("after a restart: looked at %q", got)
	}
	delete(b.denied, Get)
	if !b.guard.MayReport(t.Context(), "d1") || recheck() != "" {
		t.Errorf("looked at %q: it was sent", looked)
	}
	b.patch(applyService("w3", "", "1.3"), false)
	if got := recheck(); got != "d1" {
		t.Errorf("a queued deployment: looked at %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.guard.Reauthorize(ctx); err == nil {
		t.Error("the end of the context is not heeded")
	}
}
