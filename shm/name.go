package shm

import (
	"fmt"
	"io/fs"
	"strings"
)

const (
	// DefaultDir is where the C library's shm_open keeps its objects: the
	// tmpfs that shm_overview(7) speaks of.
	DefaultDir = "/dev/shm"

	// MaxName is the longest name in bytes, without a leading slash: NAME_MAX.
	MaxName = 255
)

// CleanName checks name by the rules for names of objects, and returns it
// without its leading slash. One leading slash is allowed, as POSIX writes
// these names: "/ticks" and "ticks" are the same object. An error, which
// [errors.Is] [fs.ErrInvalid], is the answer to a name that is then empty, is
// "." or "..", holds a further slash or a NUL, or has more than [MaxName] bytes.
//
// It makes no system call and looks at no object.
func CleanName(name string) (string, error) {
	clean, err := cleanName(name)
	if err != nil {
		return "", fmt.Errorf("shm: name %q: %w", shorten(name), err)
	}
	return clean, nil
}

// cleanName is CleanName without the name in the error, for callers that add it.
func cleanName(name string) (string, error) {
	clean := strings.TrimPrefix(name, "/")
	switch {
	case clean == "":
		return "", fmt.Errorf("the name is empty: %w", fs.ErrInvalid)
	case clean == "." || clean == "..":
		return "", fmt.Errorf("the name is a directory's: %w", fs.ErrInvalid)
	case strings.Contains(clean, "/"):
		return "", fmt.Errorf("the name has a slash that is not its first byte: %w", fs.ErrInvalid)
	case strings.IndexByte(clean, 0) >= 0:
		return "", fmt.Errorf("the name has a NUL byte: %w", fs.ErrInvalid)
	case len(clean) > MaxName:
		return "", fmt.Errorf("the name has %d bytes, more than %d: %w", len(clean), MaxName, fs.ErrInvalid)
	}
	return clean, nil
}

// shorten keeps a name of any length from filling the screen of whoever reads
// the error: every allowed name comes whole.
func shorten(name string) string {
	const most = MaxName + 1 // the leading slash
	if len(name) <= most {
		return name
	}
	return name[:most] + "…"
}
