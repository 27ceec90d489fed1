package hub

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update/manifest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnect(t *testing.T) {
	w := start(t)
	later := time.Now().Add(time.Hour)
	good := func(change func(*connectOptions)) connectOptions {
		o := sasOptions("sas")
		change(&o)
		return o
	}
	stranger := selfSigned(t, "x509")
	for name, c := range map[string]struct {
		o  connectOptions
		ok bool
	}{
		"SAS":               {sasOptions("sas"), true},
		"module":            {sasOptions("sas/mod"), true},
		"certificate":       {connectOptions{clientID: "x509", username: user("x509"), certificate: &w.cert}, true},
		"other certificate": {connectOptions{clientID: "x509", username: user("x509"), certificate: &stranger}, false},
		"no credential":     {connectOptions{clientID: "x509", username: user("x509")}, false},
		"wrong key":         {good(func(o *connectOptions) { o.password = Token(host, ID{"sas", ""}, []byte("wrong"), later) }), false},
		"expired": {good(func(o *connectOptions) {
			o.password = Token(host, ID{"sas", ""}, []byte("secret"), time.Now().Add(-time.Second))
		}), false},
		"token of another":  {good(func(o *connectOptions) { o.password = Token(host, ID{"sas2", ""}, []byte("secret"), later) }), false},
		"token of a module": {good(func(o *connectOptions) { o.password = Token(host, ID{"sas", "mod"}, []byte("secret"), later) }), false},
		"prefix":            {good(func(o *connectOptions) { o.password = Token(host, ID{"sa", ""}, []byte("secret"), later) }), false},
		"unknown device":    {sasOptions("nobody"), false},
		"other hub":         {good(func(o *connectOptions) { o.username = strings.Replace(o.username, "test-", "other-", 1) }), false},
		"other user name":   {good(func(o *connectOptions) { o.username = user("sas2") }), false},
		"no api-version":    {good(func(o *connectOptions) { o.username = host + "/sas/?x=1" }), false},
		"garbage token":     {good(func(o *connectOptions) { o.password = "SharedAccessSignature sr=%zz&sig=&se=x" }), false},
		"field twice":       {good(func(o *connectOptions) { o.password += "&se=99999999999" }), false},
		"MQTT 5":            {good(func(o *connectOptions) { o.version = 5 }), false},
		"will elsewhere":    {good(func(o *connectOptions) { o.will = "$iothub/twin/res/200/" }), false},
		"will":              {good(func(o *connectOptions) { o.will = "devices/sas/messages/events/" }), true},
	} {
		if _, code := w.dial(c.o); (code == 0) != c.ok {
			t.Errorf("%s: code %d, want accepted %v", name, code, c.ok)
		}
	}
}

func TestTelemetry(t *testing.T) {
	w := start(t)
	c := w.connect("sas")
	c.publish("devices/sas/messages/events/a=1%202&%24.ct=application%2Fjson", "23.5", 1, 7)
	if f := c.want(4); f.body[1] != 7 {
		t.Errorf("PUBACK %v", f.body)
	}
	got, _ := w.hub.TelemetrySince(0, "", 0)
	if len(got) != 1 || got[0].Device != "sas" || string(got[0].Payload) != "23.5" || got[0].Properties["a"] != "1 2" ||
		got[0].Properties["$.ct"] != "application/json" {
		t.Fatalf("%+v", got)
	}
	_, more := w.hub.TelemetrySince(got[0].Seq, "", 0)
	c.publish("devices/sas/messages/events/", "24", 0, 0)
	<-more
	total, counts := w.hub.Counts()
	if total != 2 || counts["sas"] != 2 {
		t.Errorf("%d %v", total, counts)
	}
	if other, _ := w.hub.TelemetrySince(0, "x509", 0); len(other) != 0 {
		t.Errorf("of another device: %v", other)
	}
}

func TestWillIsTelemetry(t *testing.T) {
	w := start(t)
	o := sasOptions("sas")
	o.will = "devices/sas/messages/events/w=1"
	c, _ := w.dial(o)
	_ = c.conn.Close()
	eventually(t, "the will", func() bool { n, _ := w.hub.Counts(); return n == 1 })
	got, _ := w.hub.TelemetrySince(0, "", 0)
	if got[0].Properties["iothub-MessageType"] != "Will" || string(got[0].Payload) != "gone" {
		t.Errorf("%+v", got[0])
	}
}

func TestRules(t *testing.T) {
	w := start(t)
	c := w.connect("sas")
	c.publish("devices/sas/messages/events/", "x", 2, 1)
	c.wantClosed("QoS 2")
	c = w.connect("sas")
	c.publish("devices/sas2/messages/events/", "x", 1, 1)
	c.wantClosed("another's topic")
	if n, _ := w.hub.Counts(); n != 0 {
		t.Errorf("%d messages were recorded", n)
	}
	c = w.connect("sas")
	codes := c.subscribe("#", "$iothub/#", "devices/sas2/messages/devicebound/#", "devices/+/messages/devicebound/#",
		"$iothub/twin/res/#", "devices/sas/messages/devicebound/#")
	if want := []byte{0x80, 0x80, 0x80, 0x80, 1, 1}; string(codes) != string(want) {
		t.Errorf("SUBACK %v, want %v", codes, want)
	}
	second := w.connect("sas")
	c.wantClosed("the first of two connections")
	second.publish("devices/sas/messages/events/", "x", 1, 2)
	second.want(4)
}

// Two devices subscribe to the same texts; each gets only its own.
func TestTwin(t *testing.T) {
	w := start(t)
	a, b := w.connect("sas"), w.connect("sas2")
	for _, c := range []*rawClient{a, b} {
		c.subscribe("$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#")
	}
	id := ID{"sas", ""}
	patch, _ := strictjson.Parse([]byte(`{"interval":5,"gone":null}`), strictjson.Limits{})
	if v, err := w.hub.PatchDesired(id, patch); err != nil || v != 2 {
		t.Fatal(v, err)
	}
	topic, body, _ := a.wantPublish()
	if topic != "$iothub/twin/PATCH/properties/desired/?$version=2" || string(body) != `{"interval":5,"gone":null,"$version":2}` {
		t.Errorf("%s %s", topic, body)
	}
	a.publish("$iothub/twin/PATCH/properties/reported/?$rid=r1", `{"fw":"1.0"}`, 0, 0)
	if topic, _, _ := a.wantPublish(); topic != "$iothub/twin/res/204/?$rid=r1&$version=2" {
		t.Error(topic)
	}
	a.publish("$iothub/twin/PATCH/properties/reported/?$rid=r2", `{"fw":"1.0","fw":"2"}`, 0, 0)
	if topic, _, _ := a.wantPublish(); topic != "$iothub/twin/res/400/?$rid=r2" {
		t.Error(topic)
	}
	a.publish("$iothub/twin/GET/?$rid=r3", "", 0, 0)
	topic, body, _ = a.wantPublish()
	if topic != "$iothub/twin/res/200/?$rid=r3" ||
		string(body) != `{"desired":{"interval":5,"$version":2},"reported":{"fw":"1.0","$version":2}}` {
		t.Errorf("%s %s", topic, body)
	}
	b.publish("$iothub/twin/GET/?$rid=r4", "", 0, 0)
	if topic, body, _ := b.wantPublish(); topic != "$iothub/twin/res/200/?$rid=r4" || strings.Contains(string(body), "interval") {
		t.Errorf("the other device: %s %s", topic, body)
	}
	if _, err := w.hub.PatchDesired(ID{"nobody", ""}, patch); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

func TestMethod(t *testing.T) {
	w := start(t)
	id := ID{"sas", ""}
	if _, _, err := w.hub.Invoke(t.Context(), id, "reboot", nil, time.Second); !errors.Is(err, ErrNotConnected) {
		t.Error(err)
	}
	c := w.connect("sas")
	c.subscribe("$iothub/methods/POST/#")
	type answer struct {
		status int
		body   []byte
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		s, b, err := w.hub.Invoke(t.Context(), id, "reboot", []byte(`{"in":5}`), 5*time.Second)
		done <- answer{s, b, err}
	}()
	topic, body, _ := c.wantPublish()
	rid, ok := strings.CutPrefix(topic, "$iothub/methods/POST/reboot/?$rid=")
	if !ok || string(body) != `{"in":5}` {
		t.Fatalf("%s %s", topic, body)
	}
	c.publish("$iothub/methods/res/200/?$rid="+rid, `{"ok":true}`, 0, 0)
	if a := <-done; a.err != nil || a.status != 200 || string(a.body) != `{"ok":true}` {
		t.Errorf("%+v", a)
	}
	go func() {
		_, _, err := w.hub.Invoke(t.Context(), id, "reboot", nil, 5*time.Second)
		done <- answer{err: err}
	}()
	c.wantPublish()
	_ = c.conn.Close()
	if a := <-done; !errors.Is(a.err, ErrNotConnected) {
		t.Errorf("device gone: %+v", a)
	}
}

func TestCloudToDevice(t *testing.T) {
	w := start(t)
	id := ID{"sas", ""}
	if err := w.hub.SendC2D(id, []byte("one"), map[string]string{"k": "v w"}); err != nil {
		t.Fatal(err)
	}
	o := sasOptions("sas")
	o.keep = true
	c, _ := w.dial(o)
	c.subscribe("devices/sas/messages/devicebound/#")
	topic, body, pid := c.wantPublish()
	if !strings.HasPrefix(topic, "devices/sas/messages/devicebound/%24.mid=") || !strings.Contains(topic, "&k=v%20w") ||
		string(body) != "one" || pid == 0 {
		t.Fatalf("%s %s %d", topic, body, pid)
	}
	_ = c.conn.Close() // without acknowledging
	eventually(t, "disconnect", func() bool { return !w.hub.Connected(id) })
	c, _ = w.dial(o) // subscriptions are kept
	if _, body, pid = c.wantPublish(); string(body) != "one" {
		t.Fatalf("not delivered again: %s", body)
	}
	c.write(0x40, []byte{byte(pid >> 8), byte(pid)})
	eventually(t, "the acknowledgement", func() bool { return w.hub.PendingC2D(id) == 0 })
}

func TestDeploymentOverHTTP(t *testing.T) {
	w := start(t)
	c := w.connect("sas")
	c.subscribe("$iothub/twin/PATCH/properties/desired/#")
	api := httptest.NewServer(w.hub.Handler())
	defer api.Close()
	post := func(path, body string) {
		t.Helper()
		r, err := api.Client().Post(api.URL+"/hub/twins/sas/"+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		var out struct{ Version int64 }
		if err := json.NewDecoder(r.Body).Decode(&out); err != nil || r.StatusCode != http.StatusOK || out.Version == 0 {
			t.Fatalf("%s: %d %+v %v", path, r.StatusCode, out, err)
		}
	}
	service := func() strictjson.Value {
		t.Helper()
		_, body, _ := c.wantPublish()
		v, err := strictjson.Parse(body, strictjson.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return v.At("deviceUpdate", "service")
	}
	verify := func(s strictjson.Value) error {
		text, _ := s.Get("updateManifest").Str()
		sig, _ := s.Get("updateManifestSignature").Str()
		m, _, err := manifest.NewVerifier(manifest.Options{Roots: signer().Roots()}).Verify([]byte(text), sig)
		if err == nil {
			err = m.CheckFiles(s.Get("fileUrls"), manifest.Hosts{})
		}
		return err
	}
	const create = `{"id":"w1","version":"1.1","manufacturer":"Contoso","model":"T","url":"http://x.dl.adu.microsoft.com/f"`
	post("deployments", create+"}")
	s := service()
	if a, _ := s.At("workflow", "action").Int(); a != 3 {
		t.Errorf("action %d", a)
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
	post("deployments/retry", "")
	if ts, ok := service().At("workflow", "retryTimestamp").Str(); !ok || ts == "" {
		t.Error("no retry timestamp")
	}
	post("deployments/cancel", "")
	s = service()
	if a, _ := s.At("workflow", "action").Int(); a != 255 || s.Get("updateManifest").Kind() != strictjson.Null {
		t.Errorf("cancel: %s", s.Bytes())
	}
	post("deployments", create+`,"tamper":true}`)
	if err := verify(service()); manifest.CodeOf(err) != manifest.HashMismatch {
		t.Errorf("tampered: %v", err)
	}
}
