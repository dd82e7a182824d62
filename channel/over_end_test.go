//go:build linux

package channel_test

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

func noticesEnd(c fallback.Conn) bool { return c.Capabilities().EndOfFile }

func TestOverDetachFreesWhoIsBlocked(t *testing.T) {
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[semWide]) {
		var recvs, sends []*semTask[error]
		for range 3 {
			recvs = append(recvs, semStart(func() error { _, err := rx.RecvContext(context.Background()); return err }))
		}
		recvs[2].blocks(t, "RecvContext")
		require.NoError(t, rx.Detach())
		for _, k := range recvs {
			require.ErrorIs(t, k.wait(), channel.ErrDetached)
		}
		semIs(t, rx.Detach(), channel.ErrDetached)
		require.ErrorIs(t, rx.Close(), os.ErrClosed)
		require.Zero(t, rx.Stats())
		require.Zero(t, rx.Len())
		_ = sends
	})
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[semWide]) {
		n := overFill(t, tx)
		var sends []*semTask[error]
		for range 3 {
			sends = append(sends, semSend(tx, semWides.gen(n)))
		}
		sends[2].blocks(t, "Send")
		require.NoError(t, tx.Detach())
		for _, k := range sends {
			require.ErrorIs(t, k.wait(), channel.ErrDetached)
		}
		require.ErrorIs(t, tx.Send(semWide{}), channel.ErrDetached)
		for i := range n { // what was sent stays
			v, ok := rx.Recv()
			require.True(t, ok, "message %d of %d: %v", i, n, rx.Err())
			require.Equal(t, semWides.gen(i), v)
		}
	})
}

func TestOverTheEndOfAPeerWithoutCloseIsErrPeerLost(t *testing.T) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		tx, rx := semOver[uint64](t, a), semOver[uint64](t, b)
		if !noticesEnd(b) {
			t.Skip("a queue knows no ends")
		}
		require.NoError(t, tx.Send(7))
		require.NoError(t, tx.Detach())
		v, ok := rx.Recv()
		require.True(t, ok)
		require.EqualValues(t, 7, v)
		semEnded(t, rx, channel.ErrPeerLost)
		if b.Capabilities().Send {
			require.ErrorIs(t, overSendUntil(rx), channel.ErrPeerLost)
		}
	})
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		tx, rx := semOver[uint64](t, a), semOver[uint64](t, b)
		if !noticesEnd(a) {
			t.Skip("a queue knows no ends")
		}
		require.NoError(t, rx.Detach())
		require.ErrorIs(t, overSendUntil(tx), channel.ErrPeerLost)
		require.ErrorIs(t, tx.Send(1), channel.ErrPeerLost)
	})
}

func overSendUntil(c *channel.Chan[uint64]) error {
	for {
		if err := c.Send(1); err != nil {
			return err
		}
	}
}

func TestOverCloseFreesWhoIsBlockedInTheSameHandle(t *testing.T) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		tx, rx := semOver[semWide](t, a), semOver[semWide](t, b)
		n := overFill(t, tx)
		sender := semSend(tx, semWides.gen(n))
		sender.blocks(t, "Send")
		require.NoError(t, tx.Close())
		require.ErrorIs(t, sender.wait(), channel.ErrClosed)
		require.ErrorIs(t, tx.Close(), channel.ErrClosed)
		got := 0
		for v := range rx.All() { // the mark comes when there is room
			require.Equal(t, semWides.gen(got), v)
			got++
		}
		require.NoError(t, rx.Err())
		require.Equal(t, n, got)
	})
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[semWide]) {
		var recvs []*semTask[semGot[semWide]]
		for range 3 {
			recvs = append(recvs, semRecv(rx))
		}
		recvs[0].blocks(t, "Recv")
		require.NoError(t, rx.Close())
		for _, k := range recvs {
			require.ErrorIs(t, k.wait().err, channel.ErrClosed)
		}
	})
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[semWide]) {
		var recvs []*semTask[semGot[semWide]]
		for range 3 {
			recvs = append(recvs, semRecv(rx))
		}
		recvs[0].blocks(t, "Recv")
		require.NoError(t, tx.Close())
		for _, k := range recvs {
			require.ErrorIs(t, k.wait().err, channel.ErrClosed)
		}
	})
}

func TestOverTheReceiversCloseReachesTheSender(t *testing.T) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		tx, rx := semOver[uint64](t, a), semOver[uint64](t, b)
		why := channel.ErrClosed
		if b.Kind() == fallback.KindPipe {
			why = channel.ErrPeerLost // there is no way to tell
		}
		require.NoError(t, tx.Send(1))
		require.NoError(t, tx.Send(2))
		require.NoError(t, rx.Close())
		require.ErrorIs(t, tx.Send(3), why)
		require.ErrorIs(t, tx.TrySend(3), why)
		semWant(t, rx, uint64(1))
		semWant(t, rx, uint64(2))
		semEnded(t, rx, nil)
		require.NoError(t, rx.Detach())
	})
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		tx, rx := semOver[semWide](t, a), semOver[semWide](t, b)
		why := channel.ErrClosed
		if b.Kind() == fallback.KindPipe {
			why = channel.ErrPeerLost
		}
		n := overFill(t, tx)
		var senders []*semTask[error]
		for range 3 {
			senders = append(senders, semSend(tx, semWides.gen(n)))
		}
		senders[2].blocks(t, "Send")
		if b.Kind() == fallback.KindMQ && !a.(interface{ Shared() bool }).Shared() {
			t.Skip("see the test above: the other queue tells")
		}
		require.NoError(t, rx.Close())
		failed := 0
		for _, k := range senders {
			if err := k.wait(); err != nil {
				require.ErrorIs(t, err, why)
				failed++
			}
		}
		if a.Capabilities().EndOfFile == false {
			require.Equal(t, 3, failed)
		}
	})
}
