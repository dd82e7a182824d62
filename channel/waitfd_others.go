//go:build !linux

package channel

import (
	"errors"
	"os"
)

type signal struct{}

func (*signal) arm() {}

// WaitFD returns a descriptor to poll. Not on this system.
func (c *Chan[T]) WaitFD() (*os.File, error) {
	return nil, opError("descriptor to wait on", c.core.name, errors.ErrUnsupported)
}
