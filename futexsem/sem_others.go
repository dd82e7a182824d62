//go:build !linux

package futexsem

import (
	"context"
	"errors"
	"io/fs"
)

// SizeofSem is the size of sem_t in bytes on Linux; here it only lets code compile.
const SizeofSem = 32

// Sem is a POSIX semaphore in shared memory. On this system none can be made.
type Sem struct{}

// Init returns errors.ErrUnsupported on this system.
func Init(mem []byte, value uint32) (*Sem, error) { return nil, errors.ErrUnsupported }

// At returns errors.ErrUnsupported on this system.
func At(mem []byte) (*Sem, error) { return nil, errors.ErrUnsupported }

// Post returns errors.ErrUnsupported on this system.
func (s *Sem) Post() error { return errors.ErrUnsupported }

// Wait returns errors.ErrUnsupported on this system.
func (s *Sem) Wait() error { return errors.ErrUnsupported }

// TryWait returns errors.ErrUnsupported on this system.
func (s *Sem) TryWait() error { return errors.ErrUnsupported }

// WaitContext returns errors.ErrUnsupported on this system.
func (s *Sem) WaitContext(ctx context.Context) error { return errors.ErrUnsupported }

// Value returns 0 on this system.
func (s *Sem) Value() int { return 0 }

// Named is an open named semaphore. On this system none can be made.
type Named struct{ *Sem }

// OpenNamed returns errors.ErrUnsupported on this system.
func OpenNamed(name string, flag int, perm fs.FileMode, value uint32) (*Named, error) {
	return nil, errors.ErrUnsupported
}

// Close returns errors.ErrUnsupported on this system.
func (n *Named) Close() error { return errors.ErrUnsupported }

// UnlinkNamed returns errors.ErrUnsupported on this system.
func UnlinkNamed(name string) error { return errors.ErrUnsupported }
