package issuer

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// pairing is a device code on its way: the program polls with the secret, the person types the user code.
type pairing struct {
	client   string
	userCode string
	wanted   wanted

	mu     sync.Mutex // guards the fields below
	polled time.Time  // when the program asked last
	who    *Account   // who approved it; nil: nobody yet
	denied bool
}

// userCodeLetters can be told apart when they are read aloud, and make no words (RFC 8628 6.1).
const userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"

func newUserCode() string {
	var b strings.Builder
	for b.Len() < 9 {
		if b.Len() == 4 {
			b.WriteByte('-')
		}
		var one [1]byte
		_, _ = rand.Read(one[:]) // never fails
		if int(one[0]) < 256/len(userCodeLetters)*len(userCodeLetters) {
			b.WriteByte(userCodeLetters[int(one[0])%len(userCodeLetters)])
		}
	}
	return b.String()
}

// devicecode begins the device flow (RFC 8628 3.1). The scope is remembered: clients do not repeat it when they poll.
func (i *Issuer) devicecode(w http.ResponseWriter, r *http.Request) {
	if !i.home(r) {
		i.refuse(w, r, noTenant)
		return
	}
	values, f := form(w, r)
	var p *party
	var want wanted
	if f == nil {
		p, f = i.party(values.Get("client_id"))
	}
	if f == nil {
		want, f = i.want(values.Get("scope"), values.Get("resource"))
	}
	if f != nil {
		i.refuse(w, r, *f)
		return
	}
	d := &pairing{client: p.id, userCode: newUserCode(), wanted: want}
	secret, ok := i.devices.add(d)
	if !ok {
		w.Header().Set("Retry-After", fmt.Sprint(seconds(i.o.Interval)))
		i.refuse(w, r, fault{http.StatusTooManyRequests, "temporarily_unavailable", 90055, "too many device codes wait for approval"})
		return
	}
	page := i.base + "/device"
	writeJSON(w, http.StatusOK, map[string]any{
		"device_code":               secret,
		"user_code":                 d.userCode,
		"verification_uri":          page,
		"verification_url":          page, // the v1 form's name for it
		"verification_uri_complete": page + "?user_code=" + d.userCode,
		"expires_in":                seconds(deviceLife),
		"interval":                  max(1, seconds(i.o.Interval)),
		"message": "To sign in to the development issuer, open the page " + page + " in a browser and enter the code " +
			d.userCode + " to authenticate.",
	})
}

// byDevice answers a poll. A program that polls faster than it was told is told to slow down (RFC 8628 3.5), approved or not.
func (i *Issuer) byDevice(r request) (answer, *fault) {
	p, f := i.client(r)
	if f != nil {
		return answer{}, f
	}
	secret := r.form.Get("device_code")
	if secret == "" {
		secret = r.form.Get("code") // the v1 form's name for it
	}
	d, known, live := i.devices.get(secret)
	switch {
	case !known || d.client != p.id:
		return answer{}, bad("bad_verification_code", 70019, "the device code is unknown here, or was redeemed, or given to another client")
	case !live:
		return answer{}, bad("expired_token", 70019, "the device code is over: begin anew")
	}
	who, f := d.poll(i.o.Now(), i.o.Interval)
	if f != nil {
		return answer{}, f
	}
	if _, known, _ := i.devices.take(secret); !known {
		return answer{}, bad("bad_verification_code", 70019, "the device code was redeemed already")
	}
	return answer{who: who, client: p.id, wanted: d.wanted, user: true}, nil
}

// poll returns who approved the pairing.
func (d *pairing) poll(now time.Time, interval time.Duration) (*Account, *fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	since := now.Sub(d.polled)
	early := !d.polled.IsZero() && since >= 0 && since < interval*9/10 // a timer may be early, and the way shorter
	d.polled = now
	switch {
	case early:
		return nil, bad("slow_down", 50196, fmt.Sprintf("the client asks more often than every %s, as it was told", interval))
	case d.denied:
		return nil, bad("authorization_declined", 70018, "the user declined")
	case d.who == nil:
		return nil, bad("authorization_pending", 70016, "the user has not approved it yet")
	}
	return d.who, nil
}

// pairingOf finds what a user code stands for. Guesses are limited (RFC 8628 5.1): who guesses a code could sign
// somebody else's program in as themselves.
func (i *Issuer) pairingOf(userCode string) (*pairing, string, int) {
	if userCode == "" {
		return nil, "", http.StatusOK
	}
	if !i.guesses.open() {
		return nil, "Too many wrong codes were entered. Wait a minute.", http.StatusTooManyRequests
	}
	userCode = strings.ToUpper(strings.TrimSpace(userCode))
	if len(userCode) == 8 {
		userCode = userCode[:4] + "-" + userCode[4:]
	}
	d, ok := i.devices.find(func(d *pairing) bool { return d.userCode == userCode })
	if !ok {
		i.guesses.missed()
		return nil, "No program waits with this code. Codes are good for 15 minutes.", http.StatusNotFound
	}
	return d, "", http.StatusOK
}

func (i *Issuer) devicePage(w http.ResponseWriter, r *http.Request) {
	code := r.URL.Query().Get("user_code")
	d, wrong, status := i.pairingOf(code)
	i.showDevice(w, status, code, d, wrong)
}

// approve takes a user code with the name and password of whoever approves it. The page names the program and what
// it asks for before, because the code may have come from a stranger (RFC 8628 5.4).
func (i *Issuer) approve(w http.ResponseWriter, r *http.Request) {
	values, f := form(w, r)
	if f != nil {
		showFault(w, f)
		return
	}
	code := values.Get("user_code")
	d, wrong, status := i.pairingOf(code)
	if d == nil {
		i.showDevice(w, status, code, nil, wrong)
		return
	}
	if !values.Has("username") {
		i.showDevice(w, http.StatusOK, code, d, "")
		return
	}
	who, ok := i.user(values.Get("username"), values.Get("password"))
	if !ok {
		i.guesses.missed() // a password is guessed here as well as a code
		i.showDevice(w, http.StatusUnauthorized, code, d, "Unknown user or wrong password.")
		return
	}
	d.mu.Lock()
	decline := values.Get("decline") != ""
	if d.who == nil && !d.denied {
		d.denied = decline
		if !decline {
			d.who = who
		}
	}
	d.mu.Unlock()
	show(w, http.StatusOK, donePage, map[string]any{"Declined": decline})
}

func (i *Issuer) showDevice(w http.ResponseWriter, status int, code string, d *pairing, wrong string) {
	values := map[string]any{"Code": code, "Wrong": wrong}
	if d != nil {
		values["Client"], values["Audience"] = d.client, d.wanted.audience
	}
	show(w, status, devicePage, values)
}
