// Package credential supplies the tokens by which the gateway authenticates itself to the
// management API. Its types are values for client.Options.Token: Azure asks Entra by azidentity, TokenFile reads a token
// that another program renews, and ClientSecret requests one from the cloud and keeps it until
// two thirds of its lifetime are over.
package credential

import "context"

// TokenFile is a token in a file that another program renews. It is read for every request.
type TokenFile struct {
	// Read reads the token, without white space around it.
	Read func() ([]byte, error)
}

// Authorization is the value of the header of that name.
func (t TokenFile) Authorization(context.Context) (string, error) {
	b, err := t.Read()
	return bearer + string(b), err
}

// Refused implements client.Renewer: the server answered 401 to this value. It returns true if
// the file now holds another token.
func (t TokenFile) Refused(authorization string) bool {
	b, err := t.Read()
	return err == nil && authorization != bearer+string(b)
}

// Accepted implements client.Renewer. It does nothing, because the file is read for each request.
func (t TokenFile) Accepted(string) {}
