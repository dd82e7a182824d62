package channel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
)

func TestOverLookoutLooksAfterPausesAndSeldomInAStream(t *testing.T) {
	var l lookout
	at := time.Duration(0)
	looks := func(sends int, step time.Duration) (n int) {
		for range sends {
			if at += step; l.due(at) {
				n++
			}
		}
		return n
	}
	require.Equal(t, 1000, looks(1000, lookApart), "a pause before each")
	require.Equal(t, lookFirst-1, looks(lookFirst-1, time.Nanosecond), "a few after a pause")
	at += lookApart / 2
	require.False(t, l.due(at))
	require.InDelta(t, 100, looks(100*int(lookApart/time.Microsecond), time.Microsecond), 2, "one each lookApart")
	at += lookApart
	require.Equal(t, lookFirst, looks(2*lookFirst, time.Nanosecond), "and again after a pause")
}

// flagEnds opens two Conns on one object that has a flag.
func flagEnds(t *testing.T, kind fallback.Kind) (a, b fallback.Conn) {
	open := func(path string) fallback.Conn {
		c, err := fallback.FIFO(never, path, os.O_RDWR|os.O_CREATE)
		require.NoError(t, err)
		return c
	}
	name := filepath.Join(t.TempDir(), "fifo")
	if kind == fallback.KindMQ {
		name = fmt.Sprintf("flag-%d", os.Getpid())
		open = func(name string) fallback.Conn {
			c, err := fallback.MQ(name, os.O_RDWR|os.O_CREATE, 0o600, nil)
			if err != nil {
				t.Skip(err)
			}
			return c
		}
		defer fallback.UnlinkQueue(name)
	}
	a, b = open(name), open(name)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestOverAChangeOfTheFlagIsTold(t *testing.T) {
	for _, kind := range []fallback.Kind{fallback.KindMQ, fallback.KindFIFO} {
		t.Run(kind.String(), func(t *testing.T) {
			a, b := flagEnds(t, kind)
			mine, other := newClosedFlag(a), newClosedFlag(b)
			first, second := make(chan struct{}, 10), make(chan struct{}, 10)
			stopFirst, err := mine.(watchedFlag).Watch(func() { first <- struct{}{} })
			if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENOSPC) {
				t.Skip(err) // the user's limits, inotify(7)
			}
			require.NoError(t, err)
			stopSecond, err := other.(watchedFlag).Watch(func() { second <- struct{}{} })
			require.NoError(t, err)
			require.False(t, mine.ChannelClosed())
			other.CloseChannel()
			<-first
			<-second
			require.True(t, mine.ChannelClosed())
			stopFirst()
			_, err = statOf(b, func(mode uint32) uint32 { return mode })
			require.NoError(t, err)
			<-second
			require.Empty(t, first)
			stopSecond()
			modes.mu.Lock()
			defer modes.mu.Unlock()
			require.Nil(t, modes.file, "an instance that nobody needs")
		})
	}
}

func TestOverACloseElsewhereIsToldToASendThatWaits(t *testing.T) {
	for _, kind := range []fallback.Kind{fallback.KindMQ, fallback.KindFIFO} {
		t.Run(kind.String(), func(t *testing.T) {
			x, y := flagEnds(t, kind)
			a, err := Over[[64]uint64](x)
			require.NoError(t, err)
			defer a.Detach()
			for err = a.TrySend([64]uint64{}); err == nil; err = a.TrySend([64]uint64{}) {
			}
			require.ErrorIs(t, err, ErrFull)
			sent := make(chan error)
			for range 3 {
				go func() { sent <- a.Send([64]uint64{}) }()
			}
			for a.Stats().Sleeps < 3 {
				time.Sleep(time.Millisecond)
			}
			require.NotNil(t, a.core.over.watched.stop, "by the event, not by looking")
			newClosedFlag(y).CloseChannel() // and no mark
			for range 3 {
				require.ErrorIs(t, <-sent, ErrClosed)
			}
		})
	}
}
