// Package credential supplies the tokens by which the gateway identifies itself to the
// management API: its types are values for client.Options.Token. TokenFile reads a
// token that something else renews; ClientSecret asks for one and keeps it until two
// thirds of its life are over.
package credential

import "context"

// TokenFile is a token in a file that something else renews. It is read for every request.
type TokenFile struct {
	// Read reads the token, without white space around it.
	Read func() ([]byte, error)
}

// Authorization is the value of the header of that name.
func (t TokenFile) Authorization(context.Context) (string, error) {
	b, err := t.Read()
	return bearer + string(b), err
}

// Refused says that the server answered 401 to this value, and returns true if
// the file holds another token by now.
func (t TokenFile) Refused(authorization string) bool {
	b, err := t.Read()
	return err == nil && authorization != bearer+string(b)
}

// Accepted does nothing: the file is read again for each request.
func (t TokenFile) Accepted(string) {}
