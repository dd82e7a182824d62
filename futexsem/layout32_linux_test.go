//go:build 386 || arm || mips || mipsle

package futexsem

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The window of invariant 3, step by step: somebody comes to wait after the last
// waiter has seen that it is alone, and before it clears the mark.
func TestALeavingWaiterRepairsTheMarkItClearedTooEarly(t *testing.T) {
	for _, tokens := range []int{0, 1, 2} { // posted while the mark is set
		c := overlay(newMem(SizeofSem))
		c.reset(1)
		c.enlist()
		require.False(t, c.arm(), "there is a token")
		require.True(t, c.tryTake())
		alone := c.alone()
		require.True(t, alone)

		c.enlist() // the other one
		require.True(t, c.arm(), "goes to sleep")
		for range tokens {
			wake, ok := c.post()
			require.True(t, ok)
			require.Equal(t, 1, wake)
		}
		require.Equal(t, tokens, c.countOut(alone), "wakes for each token")
		wake, ok := c.post()
		require.True(t, ok)
		require.Equal(t, 1, wake, "the mark is there again")
		require.EqualValues(t, 1, c.waiters())
	}
}
