package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes: "64 MiB", "1GiB", "4096".
type Size int64

// Units of Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

var sizeUnits = []struct {
	suffix string
	factor Size
}{{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"kB", 1000}, {"MB", 1000 * 1000}, {"GB", 1000 * 1000 * 1000}, {"B", 1}, {"", 1}}

// ParseSize reads a whole number of bytes with an optional unit.
func ParseSize(s string) (Size, error) {
	t := strings.TrimSpace(s)
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(t, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 {
			break
		}
		if n > math.MaxInt64/int64(u.factor) {
			return 0, fmt.Errorf("%q is too large", clip(s))
		}
		return Size(n) * u.factor, nil
	}
	return 0, fmt.Errorf("%q is no size", clip(s))
}

// String writes the largest unit that divides it.
func (s Size) String() string {
	switch {
	case s != 0 && s%GiB == 0:
		return fmt.Sprintf("%d GiB", s/GiB)
	case s != 0 && s%MiB == 0:
		return fmt.Sprintf("%d MiB", s/MiB)
	case s != 0 && s%KiB == 0:
		return fmt.Sprintf("%d KiB", s/KiB)
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParseDuration is time.ParseDuration with days ("30d", "1d12h").
func ParseDuration(s string) (time.Duration, error) {
	t := strings.TrimSpace(s)
	bad := fmt.Errorf("%q is no duration", clip(s))
	var days time.Duration
	if head, tail, ok := strings.Cut(t, "d"); ok {
		n, err := strconv.ParseInt(head, 10, 32)
		if err != nil || n < 0 || n > 36500 {
			return 0, bad
		}
		days, t = time.Duration(n)*24*time.Hour, tail
		if t == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(t)
	if err != nil || d < 0 {
		return 0, bad
	}
	if d > math.MaxInt64-days {
		return 0, fmt.Errorf("%q is too long", clip(s))
	}
	return days + d, nil
}

// FormatDuration writes a duration as a person would: 7d, 72h, 15m, 500ms.
// ParseDuration reads it back.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 7*day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// File is the absolute path of a file. In the configuration it may be
// relative to the directory of the configuration file and may begin with
// ${CREDENTIALS_DIRECTORY}.
type File string

// SecretFile is the absolute path of a file that holds a secret. It is a
// type of its own so that it can be redacted and is never mistaken for the
// secret itself.
type SecretFile string

// maxSecret bounds what Read takes: the largest secret is a PEM key.
const maxSecret = 64 << 10

// Read returns the secret without the blanks and line ends around it. It
// refuses a file that everyone on the machine may read.
func (f SecretFile) Read() ([]byte, error) {
	file, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	b, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxSecret {
		return nil, &os.PathError{Op: "read secret", Path: string(f), Err: errors.New("larger than 64 KiB")}
	}
	return bytes.TrimSpace(b), nil
}

// Open opens a file of many secrets, which has no largest size. It refuses what
// Read refuses.
func (f SecretFile) Open() (*os.File, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		if why := secretMode(info); why != "" {
			err = &os.PathError{Op: "read secret", Path: string(f), Err: errors.New(why)}
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func secretMode(info os.FileInfo) string {
	if info.IsDir() {
		return "is a directory"
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fmt.Sprintf("may be used by every user of this machine (mode %04o)", info.Mode().Perm())
	}
	return ""
}

const credentialsVariable = "${CREDENTIALS_DIRECTORY}"

// ResolveFile makes the name of a file absolute that stands in the file from, as
// a File of a configuration is resolved.
func ResolveFile(name, from string) (File, error) {
	dir, err := filepath.Abs(filepath.Dir(from))
	if err != nil {
		return "", err
	}
	path, problem, hint := resolveFile(name, dir, os.Getenv)
	if problem != "" {
		return "", fmt.Errorf("%s %s: %s", name, problem, hint)
	}
	return File(path), nil
}

// resolveFile makes the path absolute. problem is "" when it could.
func resolveFile(s, dir string, env func(string) string) (path, problem, hint string) {
	if rest, ok := strings.CutPrefix(s, credentialsVariable); ok {
		base := env("CREDENTIALS_DIRECTORY")
		if base == "" {
			return "", "names a systemd credential, but this process has no credentials directory",
				"start it as a systemd unit with LoadCredential=, or name a file"
		}
		return filepath.Join(base, filepath.FromSlash(rest)), "", ""
	}
	if strings.Contains(s, "${") {
		return "", "holds a variable that is not known", "the only variable is " + credentialsVariable + ", at the beginning of a path"
	}
	if strings.ContainsAny(s, "\x00\n") {
		return "", "is no file name", "write one path on one line"
	}
	if filepath.IsAbs(s) {
		return filepath.Clean(s), "", ""
	}
	return filepath.Join(dir, s), "", ""
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
