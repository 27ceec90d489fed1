package downlink

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
)

// TwinGet asks the hub for a device's twin. The errors are twin.ErrNoTwin and
// twin.ErrOffline.
func (l *Link) TwinGet(ctx context.Context, id string) ([]byte, error) {
	s, err := l.session(id)
	if err != nil {
		return nil, err
	}
	body, err := s.TwinGet(ctx)
	return body, twinError(err)
}

// PatchReported sends a merge patch of the reported properties and returns the
// new $version. The errors are twin.ErrNoTwin, twin.ErrOffline and twin.ErrRejected.
func (l *Link) PatchReported(ctx context.Context, id string, patch []byte) (int64, error) {
	s, err := l.session(id)
	if err != nil {
		return 0, err
	}
	version, err := s.PatchReported(ctx, patch)
	return version, twinError(err)
}

func (l *Link) session(id string) (*iothub.Session, error) {
	if strings.Contains(id, "/") {
		return nil, twin.ErrNoTwin // modules have no connection of their own at the hub
	}
	s, err := l.hub.Session(id)
	if errors.Is(err, iothub.ErrNoIdentity) {
		return nil, twin.ErrNoTwin
	}
	return s, twinError(err)
}

// twinError sorts the hub's refusals. Only two are about the patch itself, which the hub will
// never take. All others (a quota used up, a device that is not registered
// there yet) may pass, and a report that was acknowledged to the device is not dropped for them.
func twinError(err error) error {
	var refused *iothub.StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && (refused.Status == http.StatusBadRequest || refused.Status == http.StatusRequestEntityTooLarge):
		return fmt.Errorf("%w: %w", twin.ErrRejected, err)
	}
	return fmt.Errorf("%w: %w", twin.ErrOffline, err)
}
