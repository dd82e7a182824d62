package channel

import (
	"errors"
	"fmt"
	"os"
)

// The errors of this package. Each is tested with errors.Is; what a call
// returns wraps one of them together with the operation and the channel's name.
// Standard errors are used where they exist: fs.ErrExist, fs.ErrNotExist,
// fs.ErrPermission, fs.ErrInvalid, context errors, errors.ErrUnsupported.
var (
	// ErrClosed: the channel is closed. Sending calls give it at once;
	// receiving calls that return an error give it when all has been drained.
	ErrClosed = errors.New("channel is closed")
	// ErrFull: TrySend found no free place, or no free bytes of Space.
	ErrFull = errors.New("channel is full")
	// ErrEmpty: TryRecv found no message.
	ErrEmpty = errors.New("channel is empty")
	// ErrPeerLost: with HangUp, the last process of the other side is gone.
	ErrPeerLost = errors.New("the other side is gone")
	// ErrBusy: a seat, a loan or a place for one more member is taken.
	ErrBusy = errors.New("channel is busy")
	// ErrCorrupt: what stands in the shared memory cannot be right, or is not
	// a channel at all. Nothing was written to it.
	ErrCorrupt = errors.New("not a sound channel")
	// ErrTooLarge: the encoded message is over MaxMessage. Nothing was sent.
	ErrTooLarge = errors.New("message is too large")
	// ErrDetached: this handle was detached. errors.Is(err, os.ErrClosed) too.
	ErrDetached error = &detachedError{}
)

type detachedError struct{}

func (*detachedError) Error() string        { return "channel handle is detached" }
func (*detachedError) Is(target error) bool { return target == os.ErrClosed }

// opError puts the operation and the channel's name before an error.
func opError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if name == "" {
		return fmt.Errorf("channel: %s: %w", op, err)
	}
	return fmt.Errorf("channel: %s %q: %w", op, name, err)
}
