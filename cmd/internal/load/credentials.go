package load

import (
	"bufio"
	"crypto/tls"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Client is who connects.
type Client struct {
	ID, User, Password string
	Cert               *tls.Certificate // nil: the target's, if it has one
}

// ReadClients reads a file with one client a line, as comma-separated values:
//
//	client id, user name, password
//	client id, user name, password, certificate file, key file
//
// User name and password may be empty; a field that holds a comma or a quote
// is quoted as in CSV. Files are PEM, a relative name starts in the directory
// of the file itself. Empty lines and lines that begin with # are left out.
// The error names every bad line by its number, with the reason.
func ReadClients(file string) ([]Client, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var clients []Client
	var bad []error
	seen := map[string]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		c, err := parseClient(line, filepath.Dir(file))
		if before := seen[c.ID]; err == nil && before > 0 {
			err = fmt.Errorf("the client id %q stands in line %d already: the two would take the session from each other", c.ID, before)
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("%s:%d: %w", file, n, err))
			continue
		}
		seen[c.ID] = n
		clients = append(clients, c)
	}
	if err := lines.Err(); err != nil {
		bad = append(bad, fmt.Errorf("%s:%d: %w", file, n+1, err))
	}
	if len(bad) == 0 && len(clients) == 0 {
		return nil, fmt.Errorf("%s: holds no client", file)
	}
	return clients, errors.Join(bad...)
}

func parseClient(line, dir string) (Client, error) {
	r := csv.NewReader(strings.NewReader(line))
	r.TrimLeadingSpace = true
	fields, err := r.Read()
	if err != nil {
		var p *csv.ParseError
		if errors.As(err, &p) {
			err = p.Err
		}
		return Client{}, err
	}
	if len(fields) != 3 && len(fields) != 5 {
		return Client{}, fmt.Errorf("has %d fields: wanted client id, user name, password, "+
			"and no more or a certificate file and a key file", len(fields))
	}
	for i, name := range []string{"client id", "user name", "password"} {
		v := fields[i]
		switch {
		case len(v) > 65535:
			return Client{}, fmt.Errorf("the %s is longer than 65535 bytes", name)
		case i < 2 && (!utf8.ValidString(v) || strings.ContainsRune(v, 0)):
			return Client{}, fmt.Errorf("the %s is not UTF-8 text", name)
		}
	}
	c := Client{ID: fields[0], User: fields[1], Password: fields[2]}
	if c.ID == "" {
		return c, errors.New("the client id is empty")
	}
	if len(fields) == 3 {
		return c, nil
	}
	cert, err := ReadPair(beside(dir, fields[3]), beside(dir, fields[4]))
	if err != nil {
		return c, err
	}
	c.Cert = cert
	return c, nil
}

func beside(dir, file string) string {
	if file == "" || filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}

// ReadPair reads a certificate and its key; both names empty: neither, nil.
func ReadPair(cert, key string) (*tls.Certificate, error) {
	switch {
	case cert == "" && key == "":
		return nil, nil
	case key == "":
		return nil, fmt.Errorf("the certificate %s has no key file", cert)
	case cert == "":
		return nil, fmt.Errorf("the key %s has no certificate file", key)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", cert, key, err)
	}
	return &pair, nil
}
