package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

func sample(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func serve(t *testing.T, source StatusSource) http.Handler {
	t.Helper()
	h, err := New(source, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, method, path string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPage: the page is complete without its script, and markup in names that clients chose is
// shown as text.
func TestPage(t *testing.T) {
	h := serve(t, func(context.Context) ([]byte, error) { return sample(t), nil })
	r := get(h, http.MethodGet, "/")
	page := body(t, r)
	if r.StatusCode != http.StatusOK || !strings.Contains(r.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	for _, want := range []string{
		`data-state="degraded" role="status">degraded`, `cache-stale`, `1 h 01 min`, `data-state="stale"`, `>42</b>`, ` in epoch 1<`,
		"48\u202f213", "not-acting-for <b>9</b>", "48\u202f215</b><span>for upstream", "qos0-offline <b>2</b>", `id="lost-upstream">2<`,
		`value="12"`, `connection refused`, "&lt;script&gt;alert(1)&lt;/script&gt;", "device <b>20</b>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if strings.Contains(page, "<script>alert") {
		t.Error("a warning's text became markup")
	}
}

// TestPageObeysNobody: what a client chose reaches neither the terminal of whoever reads the page with curl,
// nor turns text around in a browser.
func TestPageObeysNobody(t *testing.T) {
	const name = "x\x1b[2J\u009b1m\u202egpj.exe"
	text, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	status := fmt.Sprintf(`{"health":{"state":"degraded","warnings":[{"name":"w","severity":"degraded","text":%[1]s,"next":%[1]s}]},`+
		`"upstream":{"state":"down","detail":%[1]s},"messages":{"deniedByReason":{%[1]s:3}},"outbox":{"bytes":9007199254740993}}`, text)
	h := serve(t, func(context.Context) ([]byte, error) { return []byte(status), nil })
	page := body(t, get(h, http.MethodGet, "/"))
	if i := strings.IndexAny(page, "\x1b\u009b\u202e"); i >= 0 {
		t.Errorf("the page holds %q", page[i:i+8])
	}
	if n := strings.Count(page, `x\x1b[2J\u009b1m\u202egpj.exe`); n != 4 {
		t.Errorf("the name is shown %d times, want 4", n)
	}
}

// TestSelfContained: no file names another host, and nothing needs what the
// policy forbids (inline script, style attributes, event attributes).
func TestSelfContained(t *testing.T) {
	outside := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]`)
	inline := regexp.MustCompile(`(?i)\sstyle=|\son[a-z]+="|<style|javascript:`)
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b`)
	err := fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := assets.ReadFile(name)
		text := strings.ReplaceAll(string(b), "http://www.w3.org/2000/svg", "")
		for _, re := range []*regexp.Regexp{outside, markup} {
			if m := re.FindString(text); m != "" {
				t.Errorf("%s: %q", name, m)
			}
		}
		if m := inline.FindString(text); m != "" && strings.HasSuffix(name, ".html") {
			t.Errorf("%s: %q is forbidden by the page's own policy", name, m)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOther(t *testing.T) {
	h := serve(t, func(context.Context) ([]byte, error) { return nil, errors.New("starting") })
	if r := get(h, http.MethodGet, "/"); r.StatusCode != http.StatusOK || !strings.Contains(body(t, r), ">unknown<") {
		t.Errorf("without a status: %d", r.StatusCode)
	}
	if r := get(h, http.MethodPost, "/"); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
	if r := get(h, http.MethodGet, "/assets/page.html"); r.StatusCode != http.StatusNotFound {
		t.Errorf("the template itself: %d", r.StatusCode)
	}
	if r := get(h, http.MethodGet, "/assets/../console.go"); r.StatusCode != http.StatusNotFound {
		t.Errorf("a way out: %d", r.StatusCode)
	}
	r := get(h, http.MethodGet, "/assets/page.js")
	if r.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || r.Header.Get("ETag") == "" {
		t.Errorf("script: %v", r.Header)
	}
	w := httptest.NewRecorder()
	again := httptest.NewRequest(http.MethodGet, "/assets/page.js", nil)
	again.Header.Set("If-None-Match", r.Header.Get("ETag"))
	h.ServeHTTP(w, again)
	if w.Code != http.StatusNotModified {
		t.Errorf("unchanged script: %d", w.Code)
	}
}

func TestUnits(t *testing.T) {
	for in, want := range map[float64]string{-1: "0 s", 59.9: "59 s", 61: "1 min 01 s", 3660: "1 h 01 min", 180000: "2 d 02 h"} {
		if got := age(in); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
	if count(1234567) != "1\u202f234\u202f567" || count(0) != "0" || size(1536) != "1.5 KiB" || percent(1, 1<<40) != 1 || percent(5, 0) != 0 {
		t.Error("count, size or percent")
	}
}
