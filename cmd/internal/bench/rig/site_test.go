package rig

import "testing"

func TestMemoryIsRead(t *testing.T) {
	text := "Name:\tx\nVmRSS:\t  900 kB\nRssAnon:\t     300 kB\nRssFile:\t  500 kB\nRssShmem:\t       0 kB\n"
	if m, err := parseMemory(text); err != nil || m != (Memory{Anon: 300 << 10, File: 500 << 10}) {
		t.Errorf("%+v, %v", m, err)
	}
	for _, bad := range []string{"", "RssAnon:\t300 kB\n", "RssAnon:\t300 MB\nRssFile: 1 kB\nRssShmem: 1 kB\n"} {
		if m, err := parseMemory(bad); err == nil {
			t.Errorf("%q: %+v", bad, m)
		}
	}
}
