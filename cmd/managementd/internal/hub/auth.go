package hub

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// parseIdentity checks that client id and user name name the same identity of this hub:
// {host}/{device}[/{module}]/?api-version=… (docs/spec/device-update.md 5.1).
func (h *Hub) parseIdentity(clientID, username string) (ID, error) {
	device, module, _ := strings.Cut(clientID, "/")
	id := ID{device, module}
	if device == "" || strings.ContainsAny(clientID, "+#\x00") || strings.Count(clientID, "/") > 1 || strings.HasSuffix(clientID, "/") {
		return ID{}, fmt.Errorf("%w client id", ErrInvalid)
	}
	rest, ok := strings.CutPrefix(username, h.o.Host+"/"+clientID+"/?")
	if !ok {
		return ID{}, fmt.Errorf("%w user name: want %s/%s/?api-version=…", ErrInvalid, h.o.Host, clientID)
	}
	query, err := url.ParseQuery(rest)
	if err != nil || query.Get("api-version") == "" {
		return ID{}, fmt.Errorf("%w user name: no api-version", ErrInvalid)
	}
	return id, nil
}

// authenticate tries the credential that was presented: a password is a SAS
// token, otherwise the client certificate counts.
func (h *Hub) authenticate(id ID, password []byte, state *tls.ConnectionState) error {
	identity, ok := h.o.Lookup(id)
	if !ok {
		return ErrUnknown
	}
	if len(password) > 0 {
		return h.checkSAS(id, string(password), identity.Keys)
	}
	if state == nil || len(state.PeerCertificates) == 0 {
		return fmt.Errorf("%w: neither a token nor a certificate", ErrInvalid)
	}
	leaf := state.PeerCertificates[0]
	now := h.o.Now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("%w: the certificate is not valid now", ErrInvalid)
	}
	sum := sha256.Sum256(leaf.Raw)
	for _, t := range identity.Thumbprints {
		if subtle.ConstantTimeCompare(t[:], sum[:]) == 1 {
			return nil
		}
	}
	if identity.CA != nil && leaf.Subject.CommonName == id.Device {
		between := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := leaf.Verify(x509.VerifyOptions{Roots: identity.CA, Intermediates: between, CurrentTime: now,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: the certificate is not this identity's", ErrInvalid)
}

func (h *Hub) checkSAS(id ID, token string, keys [][]byte) error {
	fields, ok := strings.CutPrefix(token, "SharedAccessSignature ")
	if !ok {
		return fmt.Errorf("%w: the password is no shared access signature", ErrInvalid)
	}
	values := map[string]string{}
	for _, f := range strings.Split(fields, "&") {
		k, v, _ := strings.Cut(f, "=")
		if _, dup := values[k]; dup {
			return fmt.Errorf("%w: a field of the token appears twice", ErrInvalid)
		}
		values[k] = v
	}
	resource, err1 := url.QueryUnescape(values["sr"])
	sig, err2 := url.QueryUnescape(values["sig"])
	given, err3 := base64.StdEncoding.DecodeString(sig)
	expires, err4 := strconv.ParseInt(values["se"], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		return fmt.Errorf("%w: malformed token", ErrInvalid)
	}
	if !strings.EqualFold(resource, resourceOf(h.o.Host, id)) || values["skn"] != "" {
		return fmt.Errorf("%w: the token is for another resource", ErrInvalid)
	}
	if !h.o.Now().Before(time.Unix(expires, 0)) {
		return fmt.Errorf("%w: the token has expired", ErrInvalid)
	}
	for _, key := range keys {
		if hmac.Equal(given, signSAS(key, values["sr"], values["se"])) {
			return nil
		}
	}
	return fmt.Errorf("%w: wrong key", ErrInvalid)
}

func resourceOf(host string, id ID) string {
	r := host + "/devices/" + id.Device
	if id.Module != "" {
		r += "/modules/" + id.Module
	}
	return r
}

// signSAS is the signature over the resource as it was escaped, and the expiry.
func signSAS(key []byte, escaped, expiry string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(escaped + "\n" + expiry))
	return m.Sum(nil)
}

// Token makes a SAS token of an identity: for simulated devices and tests.
func Token(host string, id ID, key []byte, expires time.Time) string {
	sr, se := url.QueryEscape(resourceOf(host, id)), strconv.FormatInt(expires.Unix(), 10)
	return "SharedAccessSignature sr=" + sr + "&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(signSAS(key, sr, se))) + "&se=" + se
}
