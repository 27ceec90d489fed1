package admin

import (
	"context"
	"net"
)

// ServeGated answers on l everything that gate permits to a caller, until ctx ends.
func (s *Server) ServeGated(ctx context.Context, l net.Listener, gate Gate) error {
	return s.serve(ctx, l, s.gated(s.socket, gate))
}
