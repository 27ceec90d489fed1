package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Place is where the process runs, as far as remedies depend on it: under the
// packaged unit a file mode is not what helps. The zero Place is a shell.
type Place struct {
	unit        bool
	credentials string // ${CREDENTIALS_DIRECTORY}; "" when there is none
}

// Where the packaged unit has the credentials from; its LoadCredential= offers
// each file there under its name after offeredPrefix.
const (
	offeredFrom   = "/etc/gatehouse/credentials"
	offeredPrefix = "secret_"
	restart       = "then systemctl restart gatehoused: credentials are handed over at the start, not on reload"
)

// placeOf looks at what systemd sets for the processes of a service.
func placeOf(env func(string) string) Place {
	p := Place{credentials: env("CREDENTIALS_DIRECTORY")}
	p.unit = p.credentials != "" || env("NOTIFY_SOCKET") != "" || env("INVOCATION_ID") != ""
	return p
}

// Place is where the file was read.
func (c *Config) Place() Place {
	if c.src == nil {
		return Place{}
	}
	return c.src.place
}

// Secret is the remedy for a secret file that cannot be read.
func (p Place) Secret(path string) string {
	name, offered := p.credential(path)
	switch {
	case offered && strings.HasPrefix(name, offeredPrefix):
		return fmt.Sprintf("put it into %s/%s (root's, mode 0600), %s", offeredFrom, strings.TrimPrefix(name, offeredPrefix), restart)
	case offered:
		return fmt.Sprintf("put it into %s/%s (root's, mode 0600) and write ${CREDENTIALS_DIRECTORY}/%s%s, %s",
			offeredFrom, name, offeredPrefix, name, restart)
	case p.unit:
		return fmt.Sprintf("put it into %s/%s (root's, mode 0600) and write ${CREDENTIALS_DIRECTORY}/%s%s, %s",
			offeredFrom, filepath.Base(path), offeredPrefix, filepath.Base(path), restart)
	}
	return "make the file, owned by the daemon's user, mode 0600"
}

// Pasted is the remedy for a secret that stands where its file belongs.
func (p Place) Pasted() string {
	if p.unit {
		return fmt.Sprintf("put it into a file NAME of %s (root's, mode 0600) and write ${CREDENTIALS_DIRECTORY}/%sNAME, %s",
			offeredFrom, offeredPrefix, restart)
	}
	return "put it into a file of mode 0600 and write the file's path, or use ${CREDENTIALS_DIRECTORY}/name"
}

// File is the remedy for a file that cannot be read.
func (p Place) File() string {
	if p.unit {
		return "name an existing file that the user gatehouse may read, such as one in /etc/gatehouse; " +
			"the unit sees nothing of /home, /root and other services' /tmp"
	}
	return "name an existing file that the daemon's user may read"
}

// Writable is the remedy for a directory that cannot be written.
func (p Place) Writable(dir string) string {
	if p.unit {
		return fmt.Sprintf("make the directory and give it to the user gatehouse (0700), add ReadWritePaths=%s to the unit "+
			"(systemctl edit gatehoused), and restart; or write /var/lib/gatehouse", dir)
	}
	return "make the directory and give it to the user that gatehoused runs as (0700)"
}

// credential is the name of a credential that path lies at.
func (p Place) credential(path string) (string, bool) {
	if p.credentials == "" {
		return "", false
	}
	return strings.CutPrefix(path, filepath.Clean(p.credentials)+"/")
}
