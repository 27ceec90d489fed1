package management

import (
	"net/http"
	"testing"
)

// The key store that is nearest above a device decides alone: where it has no active key of that number,
// the key of a store further up does not count.
func TestTheNearestKeyStoreDecidesAlone(t *testing.T) {
	h := start(t)
	store := func(space int) string {
		body := `{"name":"the keys","spaceId":"` + num(space).String() + `"}`
		id := parse[string](h, h.want(http.StatusCreated, "admin", "POST", "/keystores", body))
		return "/keystores/" + id + "/keys"
	}
	above := store(2)
	h.want(http.StatusCreated, "admin", "POST", above, nil)
	token := parse[string](h, h.want(http.StatusOK, "admin", "GET", above+"/last/token?deviceMac=HW22", nil))
	believed := func(when string, want bool) {
		t.Helper()
		if _, err := h.server.judge(token); (err == nil) != want {
			t.Errorf("%s: the token of the store above: %v", when, err)
		}
	}
	believed("alone", true)
	near := store(4)
	believed("beside a nearer store without a key", false)
	h.want(http.StatusCreated, "admin", "POST", near, nil)
	believed("beside a nearer store whose key has the same number", false)
	h.want(http.StatusNoContent, "admin", "PATCH", near+"/last", `{"status":"disabled"}`)
	believed("beside a nearer store whose key is disabled", false)
}
