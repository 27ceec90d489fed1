package sas

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const hub = "demo-hub.azure-devices.net"

var (
	key   = []byte("0123456789abcdef0123456789abcdef")
	other = []byte("fedcba9876543210fedcba9876543210")
	now   = time.Unix(1800000000-3600, 0)
	day   = 24 * time.Hour
)

// Tokens made by another implementation (Python's hmac and urllib), in the
// three ways in which IoT Hub's SDKs write the resource.
const (
	genuine = "SharedAccessSignature sr=demo-hub.azure-devices.net%2Fdevices%2Fdev1&sig=92HK2%2F" +
		"DwTfwDqXOL%2BGem2Yaf0qjckfAIi1SAzh3IQFc%3D&se=1800000000"
	genuineLower = "SharedAccessSignature sr=demo-hub.azure-devices.net%2fdevices%2fdev1&" +
		"sig=8%2BCSDq33FBlFEWS60xpAW7SeBXUVu8BynHPfBRI%2Bhm0%3D&se=1800000000"
	genuinePlain = "SharedAccessSignature sr=demo-hub.azure-devices.net/devices/dev1&" +
		"sig=t5VZ7aogiulkpmKr5NApa4Osts0DeCTgZE82XHqPoLI%3D&se=1800000000"
	genuineModule = "SharedAccessSignature sr=demo-hub.azure-devices.net%2Fdevices%2Fdev1%2Fmodules%2Fmod%3Aa&" +
		"sig=lV0%2Fz24md8hdPlAQk1z5TvQ7eyoYL5Z8YMeM%2FJ0EwV8%3D&se=1800000000"
)

func verify(token string, r Resource, at time.Time, life time.Duration, keys ...[]byte) (int, error) {
	t, err := Parse(token)
	if err != nil {
		return 0, err
	}
	return t.Verify(r, at, life, keys...)
}

func TestGenuineTokens(t *testing.T) {
	dev := Device(hub, "dev1")
	for _, c := range []struct {
		token string
		r     Resource
	}{
		{genuine, dev}, {genuineLower, dev}, {genuinePlain, dev},
		{genuine, Device("Demo-Hub.azure-devices.NET", "dev1")},
		{genuineModule, Module(hub, "dev1", "mod:a")},
		{genuine + "&skn=", dev}, // as older C SDKs write it
		{Issue(Function(hub, "98e44ad7"), key, now.Add(time.Hour)), Function(hub, "98e44ad7")},
		{Issue(Device(hub, "ä b*~'+"), key, now.Add(time.Hour)), Device(hub, "ä b*~'+")},
	} {
		if i, err := verify(c.token, c.r, now, day, key, other); err != nil || i != 0 {
			t.Errorf("%s: %d, %v", c.token, i, err)
		}
		if i, err := verify(c.token, c.r, now, day, other, key); err != nil || i != 1 {
			t.Errorf("secondary key, %s: %d, %v", c.token, i, err)
		}
	}
	if got := Issue(dev, key, time.Unix(1800000000, 0)); got != genuine {
		t.Errorf("Issue = %s", got)
	}
}

func TestRefused(t *testing.T) {
	dev1 := Device(hub, "dev1")
	soon := now.Add(time.Hour)
	swap := func(old, repl string) string {
		if !strings.Contains(genuine, old) {
			t.Fatalf("%q is not in the token", old)
		}
		return strings.Replace(genuine, old, repl, 1)
	}
	// resigned has a good signature over sr and se exactly as given.
	resigned := func(sr, se string) string {
		return prefix + "sr=" + sr + "&sig=" + escape(sign(sr+"\n"+se, key)) + "&se=" + se
	}
	const se = "1800000000"
	for _, c := range []struct {
		name  string
		token string
		r     Resource
		want  error
	}{
		{"another device's token", Issue(Device(hub, "dev2"), key, soon), dev1, ErrResource},
		{"dev1 for dev10", Issue(dev1, key, soon), Device(hub, "dev10"), ErrResource},
		{"dev10 for dev1", Issue(Device(hub, "dev10"), key, soon), dev1, ErrResource},
		{"device id in another case", Issue(Device(hub, "DEV1"), key, soon), dev1, ErrResource},
		{"prefix of the scope: the hub", resigned(escape(hub), se), dev1, ErrResource},
		{"prefix of the scope: all devices", resigned(escape(hub+"/devices"), se), dev1, ErrResource},
		{"trailing slash", resigned(escape(hub+"/devices/dev1/"), se), dev1, ErrResource},
		{"another hub", Issue(Device("x"+hub, "dev1"), key, soon), dev1, ErrResource},
		{"a device's token for its module", Issue(dev1, key, soon), Module(hub, "dev1", "m"), ErrResource},
		{"a module's token for its device", Issue(Module(hub, "dev1", "m"), key, soon), dev1, ErrResource},
		{"a function's token for a device", Issue(Function(hub, "dev1"), key, soon), dev1, ErrResource},
		{"no hub configured", resigned("%2Fdevices%2Fdev1", se), Device("", "dev1"), ErrResource},
		{"wrong key", Issue(dev1, other, soon), dev1, ErrSignature},
		{"signature of another expiry", swap("se="+se, "se=1800000001"), dev1, ErrSignature},
		{"signature over the other spelling", swap("%2Fdevices", "%2fdevices"), dev1, ErrSignature},
		{"expired", Issue(dev1, key, now), dev1, ErrExpired},
		{"a clock at 1970", Issue(dev1, key, time.Unix(3600, 0)), dev1, ErrExpired},
		{"lives too long", Issue(dev1, key, now.Add(day+time.Second)), dev1, ErrLife},
		{"expired and of a wrong key", Issue(dev1, other, now), dev1, ErrSignature},
		{"skn", genuine + "&skn=device", dev1, ErrPolicy},
		{"skn of a blank", genuine + "&skn=%20", dev1, ErrPolicy},
		{"empty skn and another", genuine + "&skn=&skn=device", dev1, ErrMalformed},
		{"skn without a value", genuine + "&skn", dev1, ErrMalformed},
		{"huge se", resigned(escape(dev1.String()), "99999999999999999999"), dev1, ErrMalformed},
		{"se beyond the year 9999", resigned(escape(dev1.String()), "253402300800"), dev1, ErrMalformed},
		{"negative se", resigned(escape(dev1.String()), "-1"), dev1, ErrMalformed},
		{"signed se", resigned(escape(dev1.String()), "+1800000000"), dev1, ErrMalformed},
		{"se with leading zero", resigned(escape(dev1.String()), "01800000000"), dev1, ErrMalformed},
		{"se with fraction", resigned(escape(dev1.String()), "1800000000.5"), dev1, ErrMalformed},
		{"ISO se", resigned(escape(dev1.String()), "2027-01-15T08:00:00Z"), dev1, ErrMalformed},
		{"sr twice", genuine + "&sr=x", dev1, ErrMalformed},
		{"se twice, the same", genuine + "&se=" + se, dev1, ErrMalformed},
		{"unknown field", genuine + "&foo=1", dev1, ErrMalformed},
		{"field in another case", swap("&se=", "&SE="), dev1, ErrMalformed},
		{"empty field at the end", genuine + "&", dev1, ErrMalformed},
		{"no sig", prefix + "sr=a&se=1", dev1, ErrMalformed},
		{"escaped letter", resigned("demo-hub.azure-devices.net%2Fdevices%2F%64ev1", se), dev1, ErrMalformed},
		{"escaped twice", resigned("demo-hub.azure-devices.net%252Fdevices%252Fdev1", se), dev1, ErrResource},
		{"escaped NUL", resigned("demo-hub.azure-devices.net%2Fdevices%2Fdev1%00", se), dev1, ErrMalformed},
		{"overlong UTF-8", resigned("demo-hub.azure-devices.net%C0%AFdevices%C0%AFdev1", se), dev1, ErrMalformed},
		{"broken escape", resigned("demo-hub.azure-devices.net%2", se), dev1, ErrMalformed},
		{"plus as blank", resigned(escape(hub)+"%2Fdevices%2Fdev+1", se), Device(hub, "dev 1"), ErrMalformed},
		{"short signature", swap("92HK2", "92HK"), dev1, ErrMalformed},
		{"signature with stray bits", swap("IQFc%3D", "IQFd%3D"), dev1, ErrMalformed},
		{"signature unescaped", swap("%3D", "="), dev1, ErrMalformed},
		{"another scheme", "Bearer x", dev1, ErrMalformed},
		{"scheme in another case", "sharedaccesssignature " + genuine[len(prefix):], dev1, ErrMalformed},
		{"two blanks", prefix + " " + genuine[len(prefix):], dev1, ErrMalformed},
		{"empty", "", dev1, ErrMalformed},
		{"too long", genuine + strings.Repeat(" ", maxToken), dev1, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := verify(c.token, c.r, now, day, key)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	if _, err := verify(genuine, dev1, now, day); !errors.Is(err, ErrSignature) {
		t.Errorf("without keys: %v", err)
	}
	empty := prefix + "sr=a%2Fdevices%2Fd&sig=" + escape(sign("a%2Fdevices%2Fd\n"+se, nil)) + "&se=" + se
	if _, err := verify(empty, Device("a", "d"), now, day, nil, []byte{}); !errors.Is(err, ErrSignature) {
		t.Errorf("signed with an empty key: %v", err)
	}
	if _, err := verify(genuine, dev1, now, 0, key); !errors.Is(err, ErrLife) {
		t.Errorf("no life allowed: %v", err)
	}
}

func TestErrorsKeepTheToken(t *testing.T) {
	for _, token := range []string{genuine + "&x=1", strings.Replace(genuine, "se=18", "se=x8", 1), genuine} {
		_, err := verify(token, Device(hub, "dev1"), now, day, other)
		if err == nil || strings.Contains(err.Error(), "92HK2") {
			t.Errorf("error %q", err)
		}
	}
}

func TestDeviceToken(t *testing.T) {
	const (
		seconds = "SharedAccessSignature id=1836BA0C8519&se=1800000000&kv=1&sig=4Gi9uwqYCt22t4YTVLVm3d%2FXbWy71js8Eojqfrxk2nI%3D"
		iso     = "SharedAccessSignature id=010203040506&sig=Uk0zaDC8kf0Ca2ZlM2Hb3kSDbrnD7400GvfNPsO7lVY%3D&se=2027-01-15T08:00:00Z&kv=1"
	)
	for _, c := range []struct{ token, id string }{{seconds, "1836BA0C8519"}, {iso, "010203040506"}} {
		d, err := ParseDeviceToken(c.token)
		if err != nil {
			t.Fatal(err)
		}
		if d.ID != c.id || d.KeyVersion != 1 || d.Expires.Unix() != 1800000000 {
			t.Errorf("%+v", d)
		}
		for _, v := range []struct {
			key  []byte
			at   time.Time
			life time.Duration
			want error
		}{
			{key, now, day, nil},
			{other, now, day, ErrSignature},
			{nil, now, day, ErrSignature},
			{key, time.Unix(1800000000, 0), day, ErrExpired},
			{key, now, time.Minute, ErrLife},
		} {
			if err := d.Verify(v.key, v.at, v.life); !errors.Is(err, v.want) {
				t.Errorf("%v, want %v", err, v.want)
			}
		}
	}
	if got := IssueDeviceToken("1836BA0C8519", 1, key, time.Unix(1800000000, 0)); got != seconds {
		t.Errorf("issued %s", got)
	}
	for _, bad := range []string{
		"", genuine,
		strings.Replace(seconds, "kv=1", "kv=01", 1), strings.Replace(seconds, "kv=1", "kv=-1", 1),
		strings.Replace(seconds, "&kv=1", "", 1),
		strings.Replace(seconds, "id=18", "id=%2F", 1), strings.Replace(seconds, "id=18", "id=%23", 1),
		strings.Replace(seconds, "id=18", "id=%3118", 1),
		seconds + "&kv=2", seconds + "&sr=x",
		strings.Replace(iso, "08:00:00Z", "08:00:00+01:00", 1), strings.Replace(iso, "2027-01-15T08:00:00Z", "T", 1),
		strings.Replace(iso, "2027", "1027", 1),
	} {
		if d, err := ParseDeviceToken(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q was read as %+v, %v", bad, d, err)
		}
	}
	for _, swap := range [][2]string{{"1836BA0C8519", "1836BA0C8510"}, {"se=1800000000", "se=1800000001"}, {"kv=1", "kv=2"}} {
		d, err := ParseDeviceToken(strings.Replace(seconds, swap[0], swap[1], 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Verify(key, now, day); !errors.Is(err, ErrSignature) {
			t.Errorf("%v changed: %v", swap, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		genuine, genuineLower, genuinePlain, genuineModule, genuine + "&skn=x", prefix, prefix + "sr=%&sig=&se=", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			return
		}
		if _, err := p.Verify(Device(hub, "dev1"), now, day, other); err == nil {
			t.Errorf("%q is signed by a key that signed nothing", s)
		}
		if len(escape(p.resource)) > maxToken/2 {
			return
		}
		// What is read can be written, and reads the same.
		again, err := Parse(prefix + "sr=" + escape(p.resource) + "&sig=" + escape(sign("x", key)) + "&se=1")
		if err != nil || again.resource != p.resource {
			t.Errorf("resource %q: %v, %v", p.resource, again, err)
		}
	})
}

func FuzzParseDeviceToken(f *testing.F) {
	for _, s := range []string{IssueDeviceToken("1836BA0C8519", 1, key, now), prefix + "id=a&se=2017-09-15T01:06:22Z&kv=1&sig=x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDeviceToken(s)
		if err == nil && (d.Verify(other, now, day) == nil || strings.ContainsAny(d.ID, "\n\x00/+#")) {
			t.Errorf("%q: %+v", s, d)
		}
	})
}
