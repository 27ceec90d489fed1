package admin

import (
	"context"
	"net"
)

// ServeIdentified answers on l everything that identify permits to a caller, until ctx ends.
func (s *Server) ServeIdentified(ctx context.Context, l net.Listener, identify Identify) error {
	return s.serve(ctx, l, s.identified(s.socket, identify))
}

// Routes lists the API as "METHOD path".
func Routes() []string {
	var all []string
	for _, r := range routes {
		all = append(all, r.method+" "+r.path)
	}
	return all
}
