//go:build !linux

package fallback

import (
	"errors"
	"fmt"
	"os"
)

var errNoMapping = fmt.Errorf("mapping: %w", errors.ErrUnsupported)

// A Mapping is a file in memory. There are none on this system.
type Mapping struct{}

// MapFile maps a file. Not on this system: errors.ErrUnsupported.
func MapFile(f *os.File, size int64, writable bool) (*Mapping, error) { return nil, errNoMapping }

// Bytes is the memory.
func (m *Mapping) Bytes() []byte { return nil }

// Sync writes to the disk. Not on this system.
func (m *Mapping) Sync(off, n int) error { return errNoMapping }

// Close unmaps. Not on this system.
func (m *Mapping) Close() error { return errNoMapping }
