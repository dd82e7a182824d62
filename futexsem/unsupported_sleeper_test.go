//go:build !linux

package futexsem

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestElsewhereSleepersScan(t *testing.T) {
	require.ErrorIs(t, Wait(new(uint32), 0, 0), errors.ErrUnsupported)
	word, s := new(uint32), NewSleeper()
	go atomic.StoreUint32(word, 1)
	for atomic.LoadUint32(word) == 0 {
		s.Sleep([]Word{{word, 0}}, -1)
	}
	s.Wake()
	s.Sleep([]Word{{word, 1}}, -1)
}
