package fallback

import (
	"errors"
	"fmt"
)

// Errors of this package; Conn says when they come. Standard ones are used where
// they exist.
var (
	// ErrWouldBlock: a Try call would have to wait.
	ErrWouldBlock = errors.New("would block")
	// ErrTooLarge: the message is longer than MaxMessage. Nothing was sent.
	ErrTooLarge = errors.New("message is too large")
	// ErrFrame: what came is not what this package's other side sends.
	ErrFrame = errors.New("not a sound frame")
)

// RefusedError says that a mechanism cannot do what was asked. errors.Is
// errors.ErrUnsupported.
type RefusedError struct {
	Kind Kind   // the mechanism
	What string // the ability
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%s: %s cannot be had", e.Kind, e.What) }

// Unwrap is errors.ErrUnsupported.
func (e *RefusedError) Unwrap() error { return errors.ErrUnsupported }

// Refuse is the error for an ability that a mechanism lacks.
func Refuse(k Kind, what string) error { return &RefusedError{Kind: k, What: what} }

// opError puts the mechanism, the operation and the object's name before an error.
func opError(k Kind, op, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case name == "":
		return fmt.Errorf("%s: %s: %w", k, op, err)
	}
	return fmt.Errorf("%s: %s %q: %w", k, op, name, err)
}
