//go:build !linux

package futexsem

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestElsewhereNothingIsSupported(t *testing.T) {
	_, err := Init(make([]byte, SizeofSem), 0)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = At(make([]byte, SizeofSem))
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = OpenNamed("x", os.O_CREATE, 0o600, 0)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorIs(t, UnlinkNamed("x"), errors.ErrUnsupported)
	require.ErrorIs(t, FutexWait(new(uint32), 0, 0), errors.ErrUnsupported)
	_, err = FutexWake(new(uint32), 1)
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestElsewhereThereIsNoFence(t *testing.T) {
	require.False(t, RegisterFence())
	Fence()
	FutexWakeAll(new(uint32))
}
