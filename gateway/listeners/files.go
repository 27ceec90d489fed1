package listeners

import (
	"os"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// look returns the state of each of a listener's TLS files, nil for one that cannot be read.
func look(c *config.TLS) []os.FileInfo {
	list := make([]os.FileInfo, 0, 3)
	for _, path := range []string{string(c.Cert), string(c.Key), string(c.ClientCA)} {
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		list = append(list, info)
	}
	return list
}

// same reports whether no file was replaced, written to, or given other permissions.
func same(a, b []os.FileInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		switch {
		case a[i] == nil && b[i] == nil:
		case a[i] == nil || b[i] == nil:
			return false
		case !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() || a[i].Mode() != b[i].Mode():
			return false
		}
	}
	return true
}

// Prepare reads the TLS files that a changed configuration names for a door, and returns a
// function that puts them into force; until it is called nothing changes. Files that cannot be
// used are an error if the door has a good certificate, which they would replace. A door that
// waits for its certificate waits for the new files instead.
func (s *Set) Prepare(d *Door, c *config.TLS) (takeOver func(), err error) {
	files := look(c)
	served, unusable := tlsfile.Server(c) // not named err: the last return sets that to nil before takeOver runs
	was := d.state()
	if worse := unusable; was.pair == nil {
		if worse == nil && was.clients == nil {
			worse = served.Authority
		}
		if worse != nil {
			return nil, worse
		}
	}
	return func() {
		s.attempts.Lock()
		defer s.attempts.Unlock()
		d.source, d.files, d.read = c, files, time.Now()
		d.take(served, unusable)
		s.try(d, d.read)
		s.report(s.Findings())
	}, nil
}
