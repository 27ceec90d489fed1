package identity

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// SharedCertificate is a certificate that a registered authority issued for one device or module, and
// that another record holds as a thumbprint. Each record is proved only by its own client id, so that
// nobody is refused for it; but one of the two claims is wrong, and an operator should know.
type SharedCertificate struct {
	Thumbprint device.Thumbprint
	Owner      string     // client id of the device or module that the authority issued it for
	Others     []space.ID // devices that hold the thumbprint, for themselves or for a module
}

// String is for health.
func (s SharedCertificate) String() string {
	var others []string
	for _, id := range s.Others {
		others = append(others, id.String())
	}
	return fmt.Sprintf("certificate %s… is issued for %q and registered for device %s", s.Thumbprint.String()[:16], s.Owner,
		strings.Join(others, ", "))
}

// maxShared bounds how many shared certificates are remembered, and how many other records of each.
const maxShared = 64

// sharedCertificates are those that connected clients have shown: the registry does not know which
// certificate an authority issued.
type sharedCertificates struct {
	mu    sync.Mutex
	found map[device.Thumbprint]sharedOwner // guarded by mu
}

type sharedOwner struct {
	clientID string
	node     space.ID
}

// noteShared remembers a certificate that proved the device or module clientID of the record node, if
// another record holds its thumbprint.
func (a *Authenticator) noteShared(t *device.Topology, p device.Thumbprint, clientID string, node space.ID) {
	if len(othersOf(t, p, node)) == 0 || !a.shared.add(p, sharedOwner{clientID, node}) || a.o.SharedFound == nil {
		return
	}
	a.o.SharedFound()
}

// add reports whether the certificate is new.
func (s *sharedCertificates) add(p device.Thumbprint, o sharedOwner) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.found[p]; ok && was == o || !ok && len(s.found) >= maxShared {
		return false
	}
	if s.found == nil {
		s.found = map[device.Thumbprint]sharedOwner{}
	}
	s.found[p] = o
	return true
}

// SharedCertificates lists the certificates that are shared by the registry in force, ordered by owner,
// and forgets the others.
func (a *Authenticator) SharedCertificates() []SharedCertificate {
	t := a.o.Topology()
	a.shared.mu.Lock()
	defer a.shared.mu.Unlock()
	var list []SharedCertificate
	for p, o := range a.shared.found {
		if t == nil {
			break
		}
		others := othersOf(t, p, o.node)
		if _, ok := t.Device(o.node); !ok || len(others) == 0 {
			delete(a.shared.found, p)
			continue
		}
		list = append(list, SharedCertificate{p, o.clientID, others})
	}
	slices.SortFunc(list, func(x, y SharedCertificate) int {
		return cmp.Or(cmp.Compare(x.Owner, y.Owner), cmp.Compare(x.Thumbprint.String(), y.Thumbprint.String()))
	})
	return list
}

// othersOf lists the records that hold the thumbprint, without the record own.
func othersOf(t *device.Topology, p device.Thumbprint, own space.ID) []space.ID {
	var others []space.ID
	for _, id := range t.ClaimsOf(p) {
		if id != own && !slices.Contains(others, id) && len(others) < maxShared {
			others = append(others, id)
		}
	}
	return others
}
