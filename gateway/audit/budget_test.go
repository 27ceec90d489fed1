package audit

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

func allowed(event, principal string) message.AuditRecord {
	return message.AuditRecord{
		Event:     event,
		Principal: principal,
		ClientID:  principal,
		Remote:    "192.0.2.7:50312",
		Allowed:   true,
		Reason:    "granted",
		Version:   "1.42",
	}
}

// Two installations with one device id connect once a second, and a neighbour authenticates again as
// often, for a day: the day's denials are all there, in memory, in the file and in the log, and the rest
// is a few hundred records, which count every connect.
func TestAllowedConnectsPushNoDenialOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var journal bytes.Buffer
		file := filepath.Join(t.TempDir(), "audit.jsonl")
		l := New(Options{
			Logger:  slog.New(slog.NewTextHandler(&journal, nil)),
			File:    file,
			MaxSize: 16 << 10,
			Keep:    1,
			Ring:    64,
		})
		stop := start(t, l)
		const hours, each = 24, 3600
		for hour := range hours {
			l.Audit(denied("device:twice", fmt.Sprint("at ", hour)))
			for range each {
				l.Audit(allowed("connect", "device:twice"))
				l.Audit(allowed("reauthenticate", "device:neighbour"))
				time.Sleep(time.Second)
			}
		}
		inMemory := l.Recent(1000, func(r *message.AuditRecord) bool { return !r.Allowed })
		stop()
		if len(inMemory) != hours || l.Counts().Missed > 0 {
			t.Errorf("%d of %d denials in memory, %+v", len(inMemory), hours, l.Counts())
		}
		if all := readLines(t, file); len(all) != hours {
			t.Errorf("%d of %d denials in the file", len(all), hours)
		}
		if n := strings.Count(journal.String(), "level=WARN"); n != hours {
			t.Errorf("%d of %d denials in the log", n, hours)
		}
		own := filepath.Join(filepath.Dir(file), "audit.connects.jsonl")
		lines := append(readLines(t, own+".1"), readLines(t, own)...)
		for _, r := range lines {
			if !arrival(&r) {
				t.Fatalf("in the file of allowed connects: %+v", r)
			}
		}
		if n := strings.Count(journal.String(), "level=INFO"); n > 2*hours*13 {
			t.Errorf("%d lines for %d allowed connects", n, hours*each)
		}
		if n := sum(l.Recent(1000, func(r *message.AuditRecord) bool { return r.Principal == "device:twice" && r.Allowed })); n < 1000 {
			t.Errorf("the records in memory count only %d connects", n)
		}
		size := int64(0)
		for _, name := range []string{own, own + ".1"} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
		if size > 2*(16<<10)/4 {
			t.Errorf("%d bytes of allowed connects are kept", size)
		}
	})
}

// Every allowed connect is counted in the file, however many there are at once, and a denial in the
// middle of them is written at once.
func TestAllowedConnectsAreCounted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit")
	at := time.Now()
	l := New(Options{File: file, Now: func() time.Time { return at }}) // a clock that stands: nothing is added to a budget
	const principals, each = 3 * arrivalsBurst, 3
	f := l.Follow()
	for i := range principals * each {
		l.Audit(allowed("connect", fmt.Sprint("device:", i%principals)))
	}
	l.Audit(denied("device:1", "no-assignment"))
	f.Close()
	seen := false
	for r := range f.C() {
		seen = seen || !r.Allowed
	}
	if !seen {
		t.Error("the follower missed the denial")
	}
	if r := l.Recent(1, nil); len(r) != 1 || r[0].Allowed {
		t.Errorf("the latest record is %+v", r)
	}
	if n := len(l.queue); n > arrivalsBurst+1 {
		t.Errorf("%d records at once", n)
	}
	stop := start(t, l)
	stop()
	if n := sum(readLines(t, file+".connects")); n != principals*each {
		t.Errorf("the file counts %d of %d, %+v", n, principals*each, l.Counts())
	}
	if n := sum(readLines(t, file)); n != 1 {
		t.Errorf("%d denials", n)
	}
}

// The records of both kinds come back in the order in which they happened.
func TestRecentKeepsTheOrder(t *testing.T) {
	l := New(Options{Ring: 16})
	want := ""
	for i := range 6 {
		r := denied(fmt.Sprint(i), "r")
		if i%2 == 0 {
			r = allowed("connect", fmt.Sprint(i))
		}
		l.Audit(r)
	}
	for n, r := range l.Recent(5, nil) {
		want += r.Principal
		if r.Allowed != (n%2 == 1) {
			t.Errorf("%+v", r)
		}
	}
	if want != "12345" {
		t.Errorf("got %s", want)
	}
}
