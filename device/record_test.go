package device

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretsNeverPrint(t *testing.T) {
	d := dev(1, "d", func(d *Device) {
		d.Auth = Auth{Kind: AuthSAS, Primary: Secret("hunter2"), Secondary: Secret("hunter2")}
	})
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "device", d, "key", d.Auth.Primary)
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		fmt.Sprint(d), fmt.Sprintf("%+v", d), fmt.Sprintf("%#v", d), d.Auth.Primary.String(), log.String(),
		string(text),
	} {
		if strings.Contains(s, "hunter2") || strings.Contains(s, "104 117") || strings.Contains(s, "0x68, 0x75") ||
			strings.Contains(s, "aHVudGVyMg") {
			t.Errorf("tells the secret: %s", s)
		}
	}
}

func TestThumbprints(t *testing.T) {
	long, short := strings.Repeat("aB", 32), strings.Repeat("cD", 20)
	if p, err := ParseThumbprint(long); err != nil || p.String() != strings.ToUpper(long) {
		t.Errorf("%v, %v", p, err)
	}
	if p, err := ParseThumbprintSHA1(short); err != nil || p.String() != strings.ToUpper(short) {
		t.Errorf("%v, %v", p, err)
	}
	for _, bad := range []string{"", long + "00", long[:62], strings.Repeat("zz", 32), " " + long, strings.Repeat("a:", 32)} {
		if _, err := ParseThumbprint(bad); err == nil {
			t.Errorf("ParseThumbprint(%q) accepts", bad)
		}
	}
	for _, bad := range []string{"", long, short + "00", strings.Repeat("zz", 20)} {
		if _, err := ParseThumbprintSHA1(bad); err == nil {
			t.Errorf("ParseThumbprintSHA1(%q) accepts", bad)
		}
	}
}
