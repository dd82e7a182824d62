package shm

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

var (
	// ErrNotObject is wrapped by the error for something that stands where an
	// object should, and is none: a directory, a symbolic link, a FIFO, a socket,
	// a device, an empty file, or one that is shorter than the caller needs.
	// The error's text names which.
	ErrNotObject = errors.New("not a shared memory object")

	// ErrNotSealed is wrapped by [FromFile]'s error for an anonymous file that
	// can still shrink or grow: whoever holds another descriptor of it could cut
	// it short, and every access past the new end would be a SIGBUS.
	ErrNotSealed = errors.New("not sealed against shrinking and growing")
)

// annotate puts the operation and what it was about in front of *err, if there
// is one. It is meant to be deferred.
func annotate(err *error, op, what string) {
	if *err != nil {
		*err = fmt.Errorf("shm: %s %q: %w", op, what, *err)
	}
}

// display is how an object is called in errors: by its name alone in DefaultDir,
// by its path elsewhere.
func display(dir, name string) string {
	if dir == "" || filepath.Clean(dir) == DefaultDir {
		return shorten(name)
	}
	return filepath.Clean(dir) + "/" + shorten(strings.TrimPrefix(name, "/"))
}
