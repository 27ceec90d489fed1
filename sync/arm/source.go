package arm

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/sync/client"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// Source reads one ARM endpoint. It implements replica.Source, for one goroutine. Close it when done.
type Source struct {
	api *api
	// The content of the last answer, as a sum, and its number.
	content [sha256.Size]byte
	changes uint64
}

// New checks the options and returns a Source. It does no I/O.
func New(o Options) (*Source, error) {
	if len(o.Scopes) == 0 || o.Token == nil {
		return nil, errors.New("azure resource manager: Scopes and Token are required")
	}
	scopes := make([]string, 0, len(o.Scopes))
	for _, s := range o.Scopes {
		scopes = append(scopes, "/"+strings.Trim(s, "/"))
	}
	o.Scopes = scopes
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 64 << 20
	}
	if o.MaxRows <= 0 {
		o.MaxRows = 1_000_000
	}
	if o.Sleep == nil {
		o.Sleep = client.Sleep
	}
	a, err := newAPI(o)
	if err != nil {
		return nil, err
	}
	return &Source{api: a}, nil
}

// Close closes idle connections.
func (s *Source) Close() { s.api.idle() }

// Full reads everything that is in force at the scopes. Content that was returned before has the
// same version as then; other content is returned only when two passes in a row have read it.
func (s *Source) Full(ctx context.Context) (wire.Full, error) {
	var last *[sha256.Size]byte // of the pass before, if it was whole
	for n := range passes {
		f, err := s.pass(ctx)
		if errors.Is(err, ErrTorn) {
			last = nil
			continue
		}
		if err != nil {
			return wire.Full{}, err
		}
		now := sum(&f)
		switch {
		case n == 0 && s.changes > 0 && now == s.content:
			return s.numbered(f), nil
		case last != nil && now == *last:
			s.content = now
			s.changes++
			return s.numbered(f), nil
		}
		last = &now
	}
	return wire.Full{}, &Error{Path: provider, Err: ErrTorn}
}

// passes is how often everything is read until two passes in a row must have agreed.
const passes = 5

func (s *Source) numbered(f wire.Full) wire.Full {
	f.Version = model.Version{Epoch: 1, Number: s.changes}
	f.Policy.Version = f.Version
	return f
}

// Changes says that ARM has no feed of changes.
func (s *Source) Changes(context.Context, model.Version, time.Duration) (wire.Delta, error) {
	return wire.Delta{}, wire.ErrNoFeed
}

// needed are the actions of a caller to which ARM shows everything that Full reads.
var needed = []string{
	"Microsoft.Authorization/roleAssignments/read",
	"Microsoft.Authorization/roleDefinitions/read",
	"Microsoft.Authorization/denyAssignments/read",
}

// Rights reads whether the gateway's own identity may read everything at every scope. To a caller
// without the right ARM shows less, and not always with an error.
func (s *Source) Rights(ctx context.Context) (wire.Rights, error) {
	for _, scope := range s.api.o.Scopes {
		held := make([]bool, len(needed))
		err := s.api.list(ctx, scope, "permissions", "", func(row wire.Object) error {
			actions, err := row.Strings("actions", 4096, 512)
			if err != nil {
				return err
			}
			except, err := row.Strings("notActions", 4096, 512)
			if err != nil {
				return err
			}
			for i, action := range needed {
				held[i] = held[i] || anyMatches(actions, action) && !anyMatches(except, action)
			}
			return nil
		})
		if err != nil {
			return wire.Rights{}, err
		}
		for _, ok := range held {
			if !ok {
				return wire.Rights{}, nil
			}
		}
	}
	return wire.Rights{Assignments: true}, nil
}

func anyMatches(patterns []string, action string) bool {
	for _, p := range patterns {
		if matches(strings.ToLower(p), strings.ToLower(action)) {
			return true
		}
	}
	return false
}

// matches tells whether a pattern, in which each * stands for any text, is the action.
func matches(pattern, action string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == action
	}
	action, ok := strings.CutPrefix(action, head)
	if !ok {
		return false
	}
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(action, part)
		}
		at := strings.Index(action, part)
		if at < 0 {
			return false
		}
		action, rest = action[at+len(part):], more
	}
}

// sum is equal for equal content.
func sum(f *wire.Full) (s [sha256.Size]byte) {
	h := sha256.New()
	e := json.NewEncoder(h)
	for _, part := range []any{f.Policy.AzureRoles, f.Policy.AzureAssignments, f.Policy.AzureDenies, f.Problems} {
		_ = e.Encode(part) // a hash takes everything, and nothing of these can fail to encode
	}
	h.Sum(s[:0])
	return s
}
