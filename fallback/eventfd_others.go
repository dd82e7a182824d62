//go:build !linux

package fallback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

var errNoEventfd = fmt.Errorf("eventfd: %w", errors.ErrUnsupported)

// An Eventfd is a counter in the kernel; Linux alone has it.
type Eventfd struct{}

// NewEventfd makes a counter. Not on this system: errors.ErrUnsupported.
func NewEventfd(initial uint32, semaphore bool) (*Eventfd, error) { return nil, errNoEventfd }

// EventfdFromFile makes an Eventfd of a descriptor. Not on this system: errors.ErrUnsupported.
func EventfdFromFile(f *os.File) (*Eventfd, error) { return nil, errNoEventfd }

// Add adds n. Not on this system.
func (e *Eventfd) Add(ctx context.Context, n uint64) error { return errNoEventfd }

// TryAdd adds n. Not on this system.
func (e *Eventfd) TryAdd(n uint64) error { return errNoEventfd }

// Signal adds 1. Not on this system.
func (e *Eventfd) Signal() error { return errNoEventfd }

// Wait takes. Not on this system.
func (e *Eventfd) Wait(ctx context.Context) (uint64, error) { return 0, errNoEventfd }

// TryWait takes. Not on this system.
func (e *Eventfd) TryWait() (uint64, error) { return 0, errNoEventfd }

// Value looks. Not on this system.
func (e *Eventfd) Value() (count uint64, semaphore bool, err error) { return 0, false, errNoEventfd }

// File returns a descriptor. Not on this system.
func (e *Eventfd) File() (*os.File, error) { return nil, errNoEventfd }

// SyscallConn gives the descriptor. Not on this system.
func (e *Eventfd) SyscallConn() (syscall.RawConn, error) { return nil, errNoEventfd }

// Close lets go. Not on this system.
func (e *Eventfd) Close() error { return errNoEventfd }
