//go:build linux

package channel

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/fallback"
)

// selectPair is a handle at each end of a socket pair.
func selectPair(t *testing.T) (a, b *Chan[int]) {
	x, y, err := fallback.UnixStreamPair()
	require.NoError(t, err)
	a, err = Over[int](x)
	require.NoError(t, err)
	b, err = Over[int](y)
	require.NoError(t, err)
	t.Cleanup(func() { a.Detach(); b.Detach() })
	return a, b
}

func TestOverSelectHookTriesRegistersAndIsWoken(t *testing.T) {
	a, b := selectPair(t)
	var v int
	var in carrier = overRecvCase[int]{b, &v}
	done, err := in.try()
	require.False(t, done)
	require.ErrorIs(t, err, ErrEmpty)

	w := newWaker()
	cancel := in.register(w)
	done, _ = in.try()
	require.False(t, done)
	require.NoError(t, a.Send(7))
	for !done {
		<-w.c
		done, err = in.try()
	}
	require.NoError(t, err)
	require.Equal(t, 7, v)
	cancel()

	// What came in for a Select that took another case is the next receive's.
	cancel = in.register(w)
	require.NoError(t, a.Send(8))
	require.NoError(t, a.Send(9))
	<-w.c
	cancel()
	for _, want := range []int{8, 9} {
		got, ok := b.Recv()
		require.True(t, ok)
		require.Equal(t, want, got)
	}

	// The end wakes too.
	cancel = in.register(w)
	require.NoError(t, a.Close())
	for done = false; !done; {
		<-w.c
		done, err = in.try()
	}
	require.ErrorIs(t, err, ErrClosed)
	cancel()
}

func TestOverSelectHookOfASendIsWokenWhenThereIsRoom(t *testing.T) {
	a, b := selectPair(t)
	var out carrier = overSendCase[int]{a, 1}
	n := 0
	done, err := out.try()
	for ; done; done, err = out.try() {
		require.NoError(t, err)
		n++
	}
	require.ErrorIs(t, err, ErrFull)
	w := newWaker()
	cancel := out.register(w)
	defer cancel()
	for !done {
		if _, err := b.TryRecv(); err != nil {
			require.ErrorIs(t, err, ErrEmpty)
		}
		<-w.c
		done, err = out.try()
	}
	require.NoError(t, err)
	require.Positive(t, n)
}

func TestOverSelectHookIsWokenByDetach(t *testing.T) {
	a, b := selectPair(t)
	var v int
	in, out := overRecvCase[int]{b, &v}, overSendCase[int]{a, 1}
	for {
		if done, err := out.try(); !done {
			require.ErrorIs(t, err, ErrFull)
			break
		}
	}
	for {
		if done, _ := in.try(); !done {
			break
		}
	}
	for _, k := range []struct {
		c      carrier
		detach func() error
	}{{in, b.Detach}, {out, a.Detach}} {
		w := newWaker()
		cancel := k.c.register(w)
		require.NoError(t, k.detach())
		<-w.c
		for {
			if done, err := k.c.try(); done {
				require.True(t, errors.Is(err, ErrDetached) || errors.Is(err, ErrPeerLost), "%v", err)
				break
			}
			<-w.c
		}
		cancel()
	}
}
