//go:build linux

package channel_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

func TestOverAnotherTIsAMismatchInWords(t *testing.T) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		tx, rx := semOver[struct{ Price float64 }](t, a), semOver[struct{ Price int64 }](t, b)
		for range 2 { // the first describes itself, the second is remembered
			require.NoError(t, tx.Send(struct{ Price float64 }{1}))
			_, err := rx.RecvContext(context.Background())
			var differs *channel.MismatchError
			require.ErrorAs(t, err, &differs)
			require.Equal(t, "type", differs.What)
			semSays(t, err, "Price float64", "Price int64", "first difference")
		}
		_, err := rx.TryRecv()
		require.ErrorIs(t, err, channel.ErrEmpty)
	})
}

func TestOverForeignMessagesAreErrCorruptAndTheNextIsGood(t *testing.T) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		tx, rx := semOver[uint64](t, a), semOver[uint64](t, b)
		head := []byte("SHC\x01\x01\x00\x00\x00")
		for _, bad := range [][]byte{
			{},
			{0},
			[]byte("hello, world, I am no channel"), []byte("SHC"),
			[]byte("SHC\x01\x01\x00\xff\xff12345678"), append(head[:4:4], 9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8),
			[]byte("SHC\x07\x01\x00\x00\x0012345678"), append(head[:5:5], 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8),
		} {
			if len(bad) == 0 && a.Kind() == fallback.KindPipe && a.Capabilities().Boundaries {
				continue
			}
			require.NoError(t, a.Send(context.Background(), bad))
			_, err := rx.RecvContext(context.Background())
			var differs *channel.MismatchError
			if !errors.As(err, &differs) {
				require.ErrorIs(t, err, channel.ErrCorrupt, "%q", bad)
			}
		}
		require.NoError(t, tx.Send(5))
		v, ok := rx.Recv()
		require.True(t, ok)
		require.EqualValues(t, 5, v)
	})
}

func TestOverSaysWhatItRunsOn(t *testing.T) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		c := semOver[uint64](t, a)
		require.Equal(t, a.Kind(), c.Carrier())
		require.Equal(t, a.Kind(), c.Stats().Carrier)
		_, err := c.File()
		require.ErrorIs(t, err, errors.ErrUnsupported)
		semSays(t, err, a.Kind().String())
	})
	c := semNew[uint64](t, 1)
	require.Equal(t, fallback.KindShared, c.Carrier())
	require.Equal(t, fallback.KindShared, c.Stats().Carrier)
}

func TestOverAnEndRefusesWhatItCannotDoByName(t *testing.T) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		tx, rx := semOver[uint64](t, a), semOver[uint64](t, b)
		if !a.Capabilities().Receive {
			_, ok := tx.Recv()
			require.False(t, ok)
			semIs(t, tx.Err(), errors.ErrUnsupported, a.Kind().String())
			_, err := tx.TryRecv()
			semIs(t, err, errors.ErrUnsupported, a.Kind().String())
			_, err = tx.RecvBatch(make([]uint64, 1))
			semIs(t, err, errors.ErrUnsupported, a.Kind().String())
			semIs(t, tx.RecvFunc(func(*uint64) error { return nil }), errors.ErrUnsupported, a.Kind().String())
		}
		if !b.Capabilities().Send {
			semIs(t, rx.Send(1), errors.ErrUnsupported, b.Kind().String())
			semIs(t, rx.TrySend(1), errors.ErrUnsupported, b.Kind().String())
			_, err := rx.Reserve()
			semIs(t, err, errors.ErrUnsupported, b.Kind().String())
		}
	})
}

func TestOverBadArgumentsAreErrorsAndLeaveTheConnAlone(t *testing.T) {
	_, err := channel.Over[int](nil)
	require.ErrorIs(t, err, fs.ErrInvalid)
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		_, err := channel.Over[[]byte](a, channel.MaxMessage(1<<30))
		require.ErrorIs(t, err, channel.ErrTooLarge)
		_, err = channel.Over[[1<<16 - 1]byte](a)
		if a.MaxMessage() < 1<<16-1 {
			require.ErrorIs(t, err, channel.ErrTooLarge)
		}
		_, err = channel.Over[chan int](a)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		_, err = channel.Over[int](a, channel.MaxMessage(0))
		require.ErrorIs(t, err, fs.ErrInvalid)
		c := semOver[[]byte](t, a, channel.MaxMessage(100))
		require.ErrorIs(t, c.Send(make([]byte, 101)), channel.ErrTooLarge)
		require.NoError(t, c.Send(make([]byte, 100)))
	})
}
