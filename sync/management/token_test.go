package management

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/sync/wire"
)

func TestUsers(t *testing.T) {
	h := start(t)
	body := func(at int) string {
		return fmt.Sprintf(`{"UPN":"bob@example.com","firstName":"Bob","spaceId":%q}`, num(at))
	}
	h.want(403, "support", "PUT", "/users", body(2))
	id := parse[string](h, h.want(200, "floor", "PUT", "/users", body(2)))
	if again := parse[string](h, h.want(200, "floor", "PUT", "/users", body(4))); again != id {
		t.Error("the same UPN is the same user")
	}
	h.want(403, "floor", "PUT", "/users", body(3))
	h.want(404, "admin", "PUT", "/users", body(99))
	h.want(400, "admin", "PUT", "/users", `{"upn":"x"}`)
	h.want(204, "floor", "PATCH", "/users/"+id, `{"lastName":"B","upn":"other@example.com"}`)
	u := parse[wire.User](h, h.want(200, "support", "GET", "/users/"+id, nil))
	if u.LastName != "B" || u.UPN != "bob@example.com" || u.SpaceID != num(4) {
		t.Errorf("%+v", u)
	}
	if got := h.ids("devices1", "/users"); got != "" {
		t.Error("got", got)
	}
	h.want(403, "support", "DELETE", "/users/"+id, nil)
	h.want(204, "floor", "DELETE", "/users/"+id, nil)
	h.want(404, "floor", "GET", "/users/"+id, nil)
}

// bearer sends an arbitrary Authorization header.
func (s *Server) judge(header string) (Caller, error) {
	r := httptest.NewRequest(http.MethodGet, Base+"/devices", nil)
	r.Header.Set("Authorization", header)
	return s.AuthenticateDevice(r)
}

func TestDeviceTokens(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	h := start(t, func(o *Options) { o.Now = func() time.Time { return now } })
	h.want(403, "support", "POST", "/keystores", `{"name":"house","spaceId":"`+num(2).String()+`"}`)
	id := parse[string](h, h.want(201, "floor", "POST", "/keystores", `{"name":"house","spaceId":"`+num(2).String()+`"}`))
	keys := "/keystores/" + id + "/keys"
	h.want(403, "site", "POST", keys, nil) // Token Administrator: read and update only
	if got := h.want(201, "floor", "POST", keys, nil).body; got != "1" {
		t.Error(got)
	}
	h.want(201, "floor", "POST", keys, nil)
	h.want(403, "support", "GET", keys+"/last/token?deviceMac=HW22", nil)
	h.want(400, "site", "GET", keys+"/last/token", nil)
	h.want(404, "site", "GET", keys+"/7/token?deviceMac=HW22", nil)
	token := parse[string](h, h.want(200, "site", "GET", keys+"/last/token?deviceMac=HW22", nil))
	caller, err := h.server.judge(token)
	if err != nil || caller.Subject.Identities[0].Object != num(22) {
		t.Fatalf("%s: %+v, %v", token, caller, err)
	}
	swap := func(old, new string) string {
		changed := strings.Replace(token, old, new, 1)
		if changed == token {
			t.Fatalf("%q is not in %q", old, token)
		}
		return changed
	}
	for name, bad := range map[string]string{
		"another device":     swap("id=HW22", "id=HW21"),
		"no such device":     swap("id=HW22", "id=HW99"),
		"another key":        swap("kv=2", "kv=1"),
		"another expiry":     swap("se=18", "se=17"),
		"in the far future":  swap("se=18", "se=38"),
		"no signature":       strings.Split(token, "&sig")[0],
		"a member twice":     token + "&kv=2",
		"a foreign member":   token + "&skn=owner",
		"empty":              "SharedAccessSignature ",
		"another scheme":     "Bearer " + token,
		"outside the space":  signed(t, h, id, "HW23"),
		"a broken signature": swap("sig=", "sig=%25"),
	} {
		if _, err := h.server.judge(bad); err == nil {
			t.Errorf("%s was believed: %s", name, bad)
		}
	}
	// The owner of a key can sign any expiry, so a token is not accepted for longer
	// than tokenLife.
	long, err := signToken("HW22", parse[[]wire.Key](h, h.want(200, "floor", "GET", keys, nil))[1], now.Add(10*tokenLife))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.server.judge(long); err == nil {
		t.Error("a token for ten years was believed")
	}
	now = now.Add(tokenLife + time.Second)
	if _, err := h.server.judge(token); err == nil {
		t.Error("expired")
	}
	now = now.Add(-time.Hour)
	h.want(204, "admin", "PATCH", "/devices/"+num(22).String(), `{"status":"Disabled"}`)
	if _, err := h.server.judge(token); err == nil {
		t.Error("the device is disabled")
	}
	h.want(204, "admin", "PATCH", "/devices/"+num(22).String(), `{"status":"Active"}`)
	if _, err := h.server.judge(token); err != nil {
		t.Error(err)
	}
	h.want(204, "site", "PATCH", keys+"/last", `{"status":"disabled"}`)
	if _, err := h.server.judge(token); err == nil {
		t.Error("the key is disabled")
	}
	h.want(400, "site", "GET", keys+"/last/token?deviceMac=HW22", nil)

	h.want(204, "site", "PATCH", "/keystores/"+id, `{"name":"renamed"}`)
	h.want(400, "site", "PATCH", "/keystores/"+id, `{"spaceId":"`+num(3).String()+`"}`)
	h.want(403, "support", "PATCH", "/keystores/"+id, `{"name":"renamed"}`)

	again := open2(t, h.store)
	if got := again.want(200, "floor", "GET", keys, nil).body; got != h.want(200, "floor", "GET", keys, nil).body {
		t.Error("the keys did not survive:", got)
	}
	h.want(403, "site", "DELETE", "/keystores/"+id, nil)
	h.want(204, "floor", "DELETE", "/keystores/"+id, nil)
}

// signed is a token of a store for a device that is not below its space.
func signed(t *testing.T, h *harness, store, hardware string) string {
	t.Helper()
	return parse[string](h, h.want(200, "floor", "GET", "/keystores/"+store+"/keys/last/token?deviceMac="+hardware, nil))
}

func FuzzDeviceToken(f *testing.F) {
	s, err := New(Options{Store: NewMemoryStore(), HomeTenant: home, Authenticate: authenticate})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Import(smallBuilding()); err != nil {
		f.Fatal(err)
	}
	f.Add("SharedAccessSignature id=HW22&se=1796000000&kv=1&sig=AAAA")
	f.Add("SharedAccessSignature id=HW22&se=2027-09-15T01:06:22Z&kv=1&sig=%2B%2F")
	f.Fuzz(func(t *testing.T, header string) {
		if _, err := s.judge(header); err == nil {
			t.Fatal("believed, and there is no key at all")
		}
	})
}

// No request, whatever it holds, ends otherwise than with an answer.
func FuzzRequests(f *testing.F) {
	s, err := New(Options{Store: NewMemoryStore(), HomeTenant: home, Authenticate: authenticate, RequestsPerSecond: -1})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Import(smallBuilding()); err != nil {
		f.Fatal(err)
	}
	f.Add(
		"POST",
		"/roleassignments",
		"",
		`{"roleId":"98e44ad7-28d4-4007-853b-b9968ad132d1","objectId":"@a.b","objectIdType":"DomainName","path":"/"}`,
	)
	f.Add("PATCH", "/devices/"+num(21).String(), "", `{"gatewayId":"dev-22","spaceId":"00000000-0000-4000-8000-000000000004"}`)
	f.Add("POST", "/devices", "", `{"name":"new","hardwareId":"x","spaceId":"00000000-0000-4000-8000-000000000004","sensors":[{}]}`)
	f.Add("PATCH", "/spaces/"+num(4).String(), "", `{"parentSpaceId":"00000000-0000-4000-8000-000000000003"}`)
	f.Add("GET", "/devices", "$top=1&$skip=2&$orderby=id desc&traverse=span&includes=FullPath", "")
	f.Add("GET", "/changes", "since=1.1", "")
	f.Add(
		"PUT",
		"/gateway/azure/denyassignments/"+num(21).String(),
		"",
		`{"name":"00000000-0000-4000-8000-000000000021","properties":{"scope":"/"}}`,
	)
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		r, err := http.NewRequest(method, "https://h"+Base, strings.NewReader(body))
		if err != nil {
			return
		}
		r.URL.Path, r.URL.RawQuery = Base+path, query
		r.Header.Set("Authorization", "Bearer admin")
		if strings.Contains(strings.ToLower(query), "wait") {
			return
		}
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, r)
		if rec.Code >= 500 {
			t.Fatalf("%s %s?%s %s: %d %s", method, path, query, body, rec.Code, rec.Body)
		}
	})
}
