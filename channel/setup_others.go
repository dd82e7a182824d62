//go:build !linux

package channel

import (
	"context"
	"errors"

	"github.com/shmchan/shmchan/fallback"
)

// Listener gives channels to those who Dial. There are none on this system.
type Listener[T any] struct{ path string }

// Listen waits for processes that Dial. Not on this system.
func Listen[T any](path string, capacity int, opts ...Option) (*Listener[T], error) {
	return nil, opError("listen", path, errors.ErrUnsupported)
}

// ListenShared gives ch to processes that Dial. Not on this system.
func ListenShared[T any](path string, ch *Chan[T], opts ...Option) (*Listener[T], error) {
	return nil, opError("listen", path, errors.ErrUnsupported)
}

// Dial joins the channel that a Listener gives. Not on this system.
func Dial[T any](ctx context.Context, path string, opts ...Option) (*Chan[T], error) {
	return nil, opError("dial", path, errors.ErrUnsupported)
}

// Path is where it listens.
func (l *Listener[T]) Path() string { return l.path }

// Accept waits until a process has dialled. Not on this system.
func (l *Listener[T]) Accept(context.Context) (*Chan[T], fallback.Credentials, error) {
	return nil, fallback.Credentials{}, opError("accept", l.path, errors.ErrUnsupported)
}

// Close ends listening.
func (l *Listener[T]) Close() error { return opError("close", l.path, errors.ErrUnsupported) }
