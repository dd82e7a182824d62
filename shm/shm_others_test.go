//go:build !linux

package shm

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestElsewhereEverythingIsUnsupported(t *testing.T) {
	_, e1 := Create("", "x", 1, 0o600, nil)
	_, e2 := Open("", "x", 1)
	_, e3 := Memfd("x", 1, nil)
	_, e4 := FromFile(nil, 1)
	for _, err := range []error{e1, e2, e3, e4, Unlink("", "x")} {
		assert.ErrorIs(t, err, errors.ErrUnsupported)
	}
}
