//go:build !linux

package fallback

import (
	"context"
	"errors"
	"fmt"
	"os"
)

var errNoLock = fmt.Errorf("lock: %w", errors.ErrUnsupported)

// Flock locks a file. Not on this system: errors.ErrUnsupported.
func Flock(ctx context.Context, f *os.File, m LockMode) error { return errNoLock }

// TryFlock locks a file. Not on this system: errors.ErrUnsupported.
func TryFlock(f *os.File, m LockMode) error { return errNoLock }

// Funlock unlocks a file. Not on this system: errors.ErrUnsupported.
func Funlock(f *os.File) error { return errNoLock }

// RecordLock locks a range. Not on this system: errors.ErrUnsupported.
func RecordLock(ctx context.Context, f *os.File, m LockMode, r LockRange) error { return errNoLock }

// TryRecordLock locks a range. Not on this system: errors.ErrUnsupported.
func TryRecordLock(f *os.File, m LockMode, r LockRange) error { return errNoLock }

// RecordUnlock unlocks a range. Not on this system: errors.ErrUnsupported.
func RecordUnlock(f *os.File, r LockRange) error { return errNoLock }

// RecordLockHolder asks for the holder. Not on this system: errors.ErrUnsupported.
func RecordLockHolder(f *os.File, m LockMode, r LockRange) (*LockHolder, error) {
	return nil, errNoLock
}

// OFDLock locks a range. Not on this system: errors.ErrUnsupported.
func OFDLock(ctx context.Context, f *os.File, m LockMode, r LockRange) error { return errNoLock }

// TryOFDLock locks a range. Not on this system: errors.ErrUnsupported.
func TryOFDLock(f *os.File, m LockMode, r LockRange) error { return errNoLock }

// OFDUnlock unlocks a range. Not on this system: errors.ErrUnsupported.
func OFDUnlock(f *os.File, r LockRange) error { return errNoLock }

// OFDLockHolder asks for the holder. Not on this system: errors.ErrUnsupported.
func OFDLockHolder(f *os.File, m LockMode, r LockRange) (*LockHolder, error) {
	return nil, errNoLock
}
