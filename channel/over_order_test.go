//go:build linux

package channel_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

// In a race build this fails if the detector does not learn that what was written
// before a Send is there after its Recv.
func TestOverWhatCameBeforeASendIsSeenAfterItsReceive(t *testing.T) {
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		plain := 0
		reader := semStart(func() int {
			if _, ok := rx.Recv(); !ok {
				return -1
			}
			return plain
		})
		plain = 42
		require.NoError(t, tx.Send(1))
		require.Equal(t, 42, reader.wait())
	})
}

// Whatever another process sends, receiving gives a value or an error, and goes on.
func FuzzOverMessages(f *testing.F) {
	head := "SHC\x01\x01\x00\x00\x00"
	for _, s := range []string{
		"", "SHC", head, head + "12345678", head + "12345678\xa1\x61\x41\x01",
		"SHC\x01\x02\x00\x00\x0012345678", "SHC\x01\x01\x00\x10\x0012345678abcdefghijklmnop",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, own bool) {
		a, b := memPair(4, 1<<16)
		rx, err := channel.Over[semRecord](b)
		require.NoError(t, err)
		defer rx.Detach()
		tx, err := channel.Over[semRecord](a)
		require.NoError(t, err)
		defer tx.Detach()
		if own && len(raw) > 16 { // with the fingerprint of T
			require.NoError(t, tx.Send(semRecord{}))
			msg, err := b.TryReceive(nil)
			require.NoError(t, err)
			raw = append(append(raw[:8:8], msg[8:16]...), raw[16:]...)
		}
		if len(raw) > a.MaxMessage() {
			return
		}
		require.NoError(t, a.Send(context.Background(), raw))
		if _, err = rx.TryRecv(); errors.Is(err, channel.ErrClosed) {
			return // a mark
		}
		require.NotErrorIs(t, err, channel.ErrEmpty)
		require.NoError(t, tx.Send(semRecord{ID: 7}))
		v, err := rx.TryRecv()
		require.NoError(t, err)
		require.EqualValues(t, 7, v.ID)
	})
}

// A mark that finds no room is sent when there is some, and Detach waits for that.
func TestOverDetachAfterCloseOfAFullCarrierLetsTheMarkGo(t *testing.T) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		tx, rx := semOver[semWide](t, a), semOver[semWide](t, b)
		n := overFill(t, tx)
		require.NoError(t, tx.Close())
		detached := semStart(tx.Detach)
		got := 0
		for range rx.All() {
			got++
		}
		require.NoError(t, rx.Err())
		require.Equal(t, n, got)
		require.NoError(t, detached.wait())
	})
}

// Where the mode says it, or a buffer can be made larger, nobody need make room for the
// mark: it is there when Detach has returned, though nobody has received meanwhile.
func TestOverDetachAfterCloseOfAFullCarrierNeedsNoReceiver(t *testing.T) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		switch _, inMemory := a.(*memConn); {
		case inMemory && !a.(*memConn).Shared(), a.Kind() == fallback.KindShm, a.Kind() == fallback.KindCrossMemory,
			a.Kind() == fallback.KindMQ && !a.(interface{ Shared() bool }).Shared():
			t.Skip("Detach waits for room")
		}
		tx, rx := semOver[[]byte](t, a), semOver[[]byte](t, b)
		n := 0
		for _, size := range []int{64, 0} { // to the last byte: a mark is no longer than nothing
			err := tx.TrySend(make([]byte, size))
			for ; err == nil; err = tx.TrySend(make([]byte, size)) {
				n++
			}
			require.ErrorIs(t, err, channel.ErrFull)
		}
		require.NoError(t, tx.Close())
		require.NoError(t, tx.Detach())
		got := 0
		for range rx.All() {
			got++
		}
		require.NoError(t, rx.Err())
		require.Equal(t, n, got)
		_, err := rx.TryRecv()
		require.ErrorIs(t, err, channel.ErrClosed)
	})
}

func TestOverALoneContextDeadline(t *testing.T) {
	overEachOf(t, func(t *testing.T, _, rx *channel.Chan[uint64]) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err := rx.RecvContext(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
