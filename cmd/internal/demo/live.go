package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

// live runs the whole system until ctx ends.
func live(ctx context.Context, bin, dir, seedFile string, p site.Ports) (err error) {
	st := styleFor(os.Stdout)
	for _, want := range []struct {
		port int
		what string
	}{{p.MQTT, "MQTT over TLS"}, {p.API, "management API"}, {p.Hub, "development hub"}, {p.Page, "status page"}} {
		if err := portFree(want.port, want.what); err != nil {
			return err
		}
	}
	fmt.Println(st.dim("making keys, certificates and configuration in " + dir + " …"))
	s, err := prepare(dir, seedFile, p)
	if err != nil {
		return err
	}
	sys := newSystem(s, bin)
	defer func() {
		fmt.Println(st.dim("\nstopping: the gateway first, it syncs what it owes …"))
		err = errors.Join(err, sys.stop())
		fmt.Println(st.dim("stopped; everything is kept in " + dir + ", the next make run goes on from it"))
	}()
	for _, start := range []func(context.Context) error{sys.startCloud, sys.startGateway} {
		if err := start(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if ctx.Err() != nil {
			return nil // Ctrl-C during the start is an orderly end
		}
	}
	tour(sys, st, bin)
	play, cancel := context.WithCancel(ctx)
	defer cancel()
	var devices sync.WaitGroup
	for _, id := range performers(s) {
		devices.Go(func() { perform(play, s, id) })
	}
	ticker(ctx, sys, st)
	cancel()
	devices.Wait()
	return nil
}

// visitor is the device that nobody plays, so that whoever takes the tour can be it for as long as they like.
const visitor = "ups-1"

// performers are the devices that publish in the live demo.
func performers(s *site.Site) []string {
	ids := slices.Concat(s.Building.Devices(device.AuthSelfSigned), s.Building.Devices(device.AuthCA), s.Building.Devices(device.AuthSAS))
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == visitor })
	slices.Sort(ids)
	return ids
}

// sensors of a device, and the children that gateway-1 speaks for.
var (
	suffixes = map[string]string{"lobby-thermostat": "temperature", "door-1": "contact", "meter-main": "power", "occupancy-1": "motion",
		"ups-1": "charge", "fume-hood-1": "airflow", "gateway-1": "load", "lobby-display": "status", "dishwasher-1": "cycle",
		"coffee-1": "cups", "reader-1": "badge", "boat-sensor-1": "level"}
	children = []string{"pump-1-pressure", "pump-2-speed", "boiler-1-temperature", "freezer-1-temperature"}
)

func sensorOf(id string) string {
	if s, ok := suffixes[id]; ok {
		return id + "-" + s
	}
	return id + "-temperature"
}

// perform plays one device: it connects, publishes at a steady rate, and comes back when it was refused.
func perform(ctx context.Context, s *site.Site, id string) {
	pause := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-ctx.Done():
			return false
		}
	}
	for pause(time.Duration(rand.IntN(2000)) * time.Millisecond) {
		c, err := connect(ctx, endpointOf(s, id))
		if err != nil {
			if !pause(10 * time.Second) { // a refused device tries again, so that the demo shows refusals too
				return
			}
			continue
		}
		for n := 0; ; n++ {
			sensor := sensorOf(id)
			if id == gatewayID && n%2 == 1 {
				sensor = children[n/2%len(children)]
			}
			value := fmt.Sprintf(`{"SensorValue":"%.1f"}`, 18+6*rand.Float64())
			if err := c.publish(ctx, site.Telemetry(id, sensor), []byte(value)); err != nil || !pause(time.Second) {
				break
			}
		}
		c.close()
		if ctx.Err() != nil {
			return
		}
	}
}

// tour prints what to try.
func tour(sys *system, st style, bin string) {
	s, p := sys.Site, sys.Ports
	rel := func(f string) string {
		if wd, err := os.Getwd(); err == nil {
			if r, err := filepath.Rel(wd, f); err == nil && !strings.HasPrefix(r, "..") {
				return r
			}
		}
		return f
	}
	ctl := rel(filepath.Join(bin, "gatehousectl")) + " --socket " + rel(filepath.Join(s.Dir, "admin.sock"))
	pki := rel(s.PKI(""))
	pub := func(id, topic, text string) string {
		who := fmt.Sprintf("--cert %s/%s.pem --key %s/%s.key -i %s -u '%s'", pki, id, pki, id, id, site.Username(id))
		return fmt.Sprintf("mosquitto_pub -h localhost -p %d --cafile %s/ca.pem %s -q 1 \\\n      -t '%s' -m '%s'", p.MQTT, pki, who, topic, text)
	}
	section := func(title string) { fmt.Println("\n  " + st.bold(title)) }
	line := func(text string) { fmt.Println("    " + st.cyan(text)) }
	fmt.Printf("\n%s  %s\n", st.green("●"),
		st.bold("Gatehouse guards Harbour House: 20 devices (one speaks for four others), 60 sensors, six people"))
	section("Look")
	line(sys.page("/") + st.dim("   the status page"))
	line(ctl + " status")
	line(ctl + " audit --follow")
	curl := "curl -s --cacert " + pki + "/ca.pem"
	section("Watch what " + visitor + " says, as the dashboard, which may read the whole house (it ends with the first message)")
	line("READER=$(" + curl + " -d 'grant_type=client_credentials&client_id=dashboard&client_secret=dashboard&scope=" +
		site.Gateway + "/.default' " + s.TokenURL() + ` | sed 's/.*"access_token":"\([^"]*\).*/\1/')`)
	sub := fmt.Sprintf("mosquitto_sub -h localhost -p %d --cafile %s/ca.pem -i tour -u dashboard", p.MQTT, pki)
	line(sub + ` -P "$READER" -q 1 -C 1 -v \` + "\n      -t 'spaces" + s.Path("server") + "/#' &")
	section("Be " + visitor + ", which nobody else plays: its message arrives there")
	line(pub(visitor, site.Telemetry(visitor, "ups-1-charge"), `{"SensorValue":"98"}`))
	section("Be refused: another device's topic, with the reason in the audit")
	line(pub(visitor, site.Telemetry("door-1", "door-1-lock"), `{"SensorValue":"open"}`))
	line(ctl + " explain " + visitor + " publish '" + site.Telemetry("door-1", "door-1-lock") + "'")
	section("Ask who may do what")
	line(ctl + " who-can 'Create Sensor' door-1")
	line(ctl + " what-can gateway-1")
	section("Give reader-1 the right to publish, then take it away (it tries all the time)")
	line(ctl + " audit --principal reader-1 --follow")
	asOwner := curl + ` -H "Authorization: Bearer $TOKEN"`
	assignments := s.URL(site.API + "/roleassignments")
	line("TOKEN=$(" + curl + " -d 'grant_type=password&username=alice@harbour.example&password=alice&client_id=demo&scope=" +
		site.Management + "/.default' " + s.TokenURL() + ` | sed 's/.*"access_token":"\([^"]*\).*/\1/')`)
	line("ID=$(" + asOwner + " -H 'Content-Type: application/json' " + assignments + fmt.Sprintf(
		` -d '{"roleId":"%s","objectId":"%s","objectIdType":"DeviceId","path":"%s"}' | tr -d '"'); echo "$ID"`,
		model.GatewayDeviceRole, site.Reader, s.Path("kitchen")))
	line(asOwner + " -X DELETE " + assignments + `/"$ID"`)
	fmt.Printf("\n  %s\n\n", st.dim("logs: "+rel(filepath.Join(s.Dir, "log"))+"   ·   Ctrl-C stops everything"))
}

// ticker prints what happens: one line that is rewritten on a terminal, red
// where something was just denied; one every ten seconds otherwise; and each
// new kind of denial once, on a line that stays.
func ticker(ctx context.Context, sys *system, st style) {
	every := time.Second
	if !st.on {
		every = 10 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last admin.Status
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !sys.gateway.Running() {
			fmt.Printf("\n%s the gateway ended: %v\n%s\n", st.red("✗"), sys.gateway.Err(), sys.gateway.tail(10))
			return
		}
		var now admin.Status
		if err := sys.status(ctx, &now); err != nil {
			continue
		}
		wipe, end := "", "\n"
		if st.on {
			wipe, end = "\r\x1b[K", ""
		}
		for _, reason := range slices.Sorted(maps.Keys(now.Messages.DeniedByReason)) {
			if last.Messages.DeniedByReason[reason] == 0 {
				fmt.Printf("%s  %s  %s denied for the first time: %s\n", wipe, time.Now().Format(time.TimeOnly), st.red("✗"), reason)
			}
		}
		fmt.Print(wipe + line(st, time.Now(), &now, now.Messages.Denied > last.Messages.Denied, terminalWidth(os.Stdout)) + end)
		last = now
	}
}

// line is what happened since the start, no longer than the terminal is wide, because a line that wraps
// could not be rewritten. The reasons of the denials are cut first.
func line(st style, at time.Time, now *admin.Status, fresh bool, width int) string {
	_, policy, _ := strings.Cut(now.Cache.Version, ".") // epoch.number: the number is enough for people
	before := fmt.Sprintf("  %s  ● accepted %d · ", at.Format(time.TimeOnly), now.Messages.Accepted)
	denied := fmt.Sprintf("denied %d", now.Messages.Denied)
	after := fmt.Sprintf(" · for upstream %d = forwarded %d + waiting %d + dropped %d · policy %s, %.0f s old, %s",
		now.Messages.ForUpstream, now.Messages.Forwarded, now.Outbox.Messages, now.Messages.Lost(), policy, now.Cache.AgeSeconds, now.Cache.Stage)
	if reasons := reasonsText(now.Messages.DeniedByReason); reasons != "" {
		most := width - 1 - utf8.RuneCountInString(before+denied+after) - len(" ()")
		if reasons = clipRunes(reasons, most); reasons != "" {
			denied += " (" + reasons + ")"
		}
	}
	denied = clipRunes(denied, width-1-utf8.RuneCountInString(before))
	after = clipRunes(after, width-1-utf8.RuneCountInString(before+denied))
	if fresh {
		denied = st.red(denied)
	}
	return strings.Replace(before, "●", st.green("●"), 1) + denied + after
}

// reasonsText lists the reasons with the most frequent first.
func reasonsText(n map[string]uint64) string {
	reasons := slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		return cmp.Or(cmp.Compare(n[b], n[a]), strings.Compare(a, b))
	})
	for i, r := range reasons {
		reasons[i] = fmt.Sprintf("%s %d", r, n[r])
	}
	return strings.Join(reasons, ", ")
}

// clipRunes is the beginning of s that fits, or nothing where hardly anything does.
func clipRunes(s string, most int) string {
	r := []rune(s)
	switch {
	case len(r) <= most:
		return s
	case most < 8:
		return ""
	}
	return string(r[:most-1]) + "…"
}
