//go:build linux

package channel_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

func TestOverTriesAreExact(t *testing.T) {
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[semWide]) {
		_, err := rx.TryRecv()
		require.ErrorIs(t, err, channel.ErrEmpty)
		for range 2 {
			n := 0
			for err = tx.TrySend(semWides.gen(n)); err == nil; err = tx.TrySend(semWides.gen(n)) {
				n++
			}
			require.ErrorIs(t, err, channel.ErrFull)
			require.Positive(t, n)
			for i := range n {
				v, err := rx.TryRecv()
				require.NoError(t, err, "message %d of %d", i, n)
				require.Equal(t, semWides.gen(i), v)
			}
			_, err = rx.TryRecv()
			require.ErrorIs(t, err, channel.ErrEmpty)
		}
	})
}

func TestOverABlockedSendGoesOnWhenThereIsRoom(t *testing.T) {
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[semWide]) {
		n := overFill(t, tx)
		sender := semSend(tx, semWides.gen(n))
		sender.blocks(t, "Send into a full carrier")
		for i := range n + 1 {
			v, ok := rx.Recv()
			require.True(t, ok)
			require.Equal(t, semWides.gen(i), v)
		}
		require.NoError(t, sender.wait())
	})
}

func overFill(t testing.TB, tx *channel.Chan[semWide]) (n int) {
	t.Helper()
	err := tx.TrySend(semWides.gen(n))
	for ; err == nil; err = tx.TrySend(semWides.gen(n)) {
		n++
	}
	require.ErrorIs(t, err, channel.ErrFull)
	return n
}

func TestOverContextsEndBlockedCalls(t *testing.T) {
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[semWide]) {
		ctx, cancel := context.WithCancel(context.Background())
		recv := semStart(func() error { _, err := rx.RecvContext(ctx); return err })
		recv.blocks(t, "RecvContext")
		cancel()
		require.ErrorIs(t, recv.wait(), context.Canceled)
		_, err := rx.RecvContext(ctx)
		require.ErrorIs(t, err, context.Canceled)

		n := overFill(t, tx)
		ctx, cancel = context.WithCancel(context.Background())
		send := semStart(func() error { return tx.SendContext(ctx, semWides.gen(n)) })
		send.blocks(t, "SendContext")
		cancel()
		require.ErrorIs(t, send.wait(), context.Canceled)
		for i := range n {
			v, err := rx.RecvContext(context.Background())
			require.NoError(t, err)
			require.Equal(t, semWides.gen(i), v)
		}
		_, err = rx.TryRecv()
		require.ErrorIs(t, err, channel.ErrEmpty, "what was not sent does not come")
	})
}

func TestOverRecvFuncGivesWhatFRefusedAgainFirst(t *testing.T) {
	errNo := errors.New("no")
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[semWide]) {
		for i := range 3 {
			require.NoError(t, tx.Send(semWides.gen(i)))
		}
		for range 2 {
			err := rx.RecvFunc(func(v *semWide) error {
				require.Equal(t, semWides.gen(0), *v)
				return errNo
			})
			require.Equal(t, errNo, err)
		}
		require.PanicsWithValue(t, "oh", func() {
			rx.RecvFunc(func(*semWide) error { panic("oh") })
		})
		require.Positive(t, rx.Len())
		require.EqualValues(t, 3, rx.Stats().Redelivered)
		for i := range 3 {
			require.NoError(t, rx.RecvFunc(func(v *semWide) error {
				require.Equal(t, semWides.gen(i), *v)
				return nil
			}))
		}
		_, err := rx.TryRecv()
		require.ErrorIs(t, err, channel.ErrEmpty)

		// One that is refused wakes a receiver that waits.
		gate := semNewGate(t)
		inside := make(chan struct{})
		refuser := semStart(func() error {
			return rx.RecvFunc(func(*semWide) error { close(inside); gate.pass(); return errNo })
		})
		require.NoError(t, tx.Send(semWides.gen(9)))
		<-inside
		other := semRecv(rx)
		other.blocks(t, "Recv")
		gate.open()
		got := other.wait()
		require.NoError(t, got.err)
		require.Equal(t, semWides.gen(9), got.v)
		require.Equal(t, errNo, refuser.wait())
	})
}

func TestOverLoans(t *testing.T) {
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[semWide]) {
		first, err := tx.Reserve()
		require.NoError(t, err)
		second, err := tx.Reserve()
		require.NoError(t, err)
		third, err := tx.Reserve()
		require.NoError(t, err)
		*first.Value, *second.Value, *third.Value = semWides.gen(1), semWides.gen(2), semWides.gen(3)
		require.Equal(t, 3, tx.Stats().Loans)
		require.NoError(t, second.Commit())
		require.NoError(t, first.Commit())
		require.NoError(t, third.Abort())
		require.ErrorIs(t, third.Commit(), channel.ErrLoanEnded)
		require.ErrorIs(t, first.Commit(), channel.ErrLoanEnded)
		semWant(t, rx, semWides.gen(2))
		semWant(t, rx, semWides.gen(1))
		semDrained(t, rx)
		last, err := tx.Reserve()
		require.NoError(t, err)
		require.NoError(t, tx.Detach())
		*last.Value = semWide{} // still memory
		require.ErrorIs(t, last.Commit(), channel.ErrDetached)
	})
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[[]byte]) {
		l, err := tx.Reserve(10)
		require.NoError(t, err)
		require.Len(t, *l.Value, 10)
		*l.Value = append((*l.Value)[:0], "hello"...)
		require.NoError(t, l.Commit())
		semWant(t, rx, []byte("hello"))
		l, err = tx.Reserve(10)
		require.NoError(t, err)
		*l.Value = []byte("elsewhere")
		require.ErrorIs(t, l.Commit(), fs.ErrInvalid)
		_, err = tx.Reserve(1 << 30)
		require.ErrorIs(t, err, channel.ErrTooLarge)
	})
}

func TestOverBatches(t *testing.T) {
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		const n = 500
		vs := make([]uint64, n)
		for i := range vs {
			vs[i] = uint64(i)
		}
		sender := semStart(func() error {
			k, err := tx.SendBatch(vs)
			if err == nil && k != n {
				err = fmt.Errorf("%d sent", k)
			}
			return errors.Join(err, tx.Close())
		})
		var got []uint64
		buf := make([]uint64, 7)
		for {
			k, err := rx.RecvBatch(buf)
			got = append(got, buf[:k]...)
			if err != nil {
				require.ErrorIs(t, err, channel.ErrClosed)
				require.Zero(t, k)
				break
			}
		}
		require.NoError(t, sender.wait())
		require.Equal(t, vs, got)
		k, err := rx.RecvBatch(nil)
		require.NoError(t, err)
		require.Zero(t, k)
	})
}

func TestOverManyGoroutinesAtEachEnd(t *testing.T) {
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		const senders, receivers, each = 4, 4, 300
		var sends []*semTask[error]
		sent := make([][]uint64, senders)
		for s := range senders {
			for i := range each {
				sent[s] = append(sent[s], semID(s, i))
			}
			sends = append(sends, semStart(func() error {
				for _, v := range sent[s] {
					if err := tx.Send(v); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		var recvs []*semTask[[]uint64]
		for range receivers {
			recvs = append(recvs, semStart(func() (got []uint64) {
				for v := range rx.All() {
					got = append(got, v)
				}
				return got
			}))
		}
		for _, k := range sends {
			require.NoError(t, k.wait())
		}
		require.NoError(t, tx.Close())
		var got [][]uint64
		for _, k := range recvs {
			got = append(got, k.wait())
		}
		require.NoError(t, rx.Err())
		semExact(t, sent, got)
		require.EqualValues(t, senders*each, tx.Stats().Sent)
		require.EqualValues(t, senders*each, rx.Stats().Received)
	})
}

func TestOverTwoDirectionsPingPong(t *testing.T) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		if s, ok := a.(interface{ Shared() bool }); ok && s.Shared() || !a.Capabilities().Receive {
			t.Skip("one queue")
		}
		x, y := semOver[uint64](t, a), semOver[uint64](t, b)
		echo := semStart(func() error {
			for v := range y.All() {
				if err := y.Send(v + 1); err != nil {
					return err
				}
			}
			return y.Err()
		})
		for i := range uint64(200) {
			require.NoError(t, x.Send(i))
			v, ok := x.Recv()
			require.True(t, ok)
			require.Equal(t, i+1, v)
		}
		require.NoError(t, x.Close())
		require.NoError(t, echo.wait())
		require.ErrorIs(t, y.Send(1), channel.ErrClosed)
	})
}

func TestOverAllocatesNothingPerMessage(t *testing.T) {
	if semRace {
		t.Skip("the race detector allocates")
	}
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		own := overAllocs(t, a)
		tx, rx := semOver[semWide](t, a), semOver[semWide](t, b)
		v := semWides.gen(1)
		allocs := testing.AllocsPerRun(200, func() {
			if tx.Send(v) != nil {
				t.Error("send")
			}
			if _, ok := rx.Recv(); !ok {
				t.Error("receive")
			}
		})
		require.LessOrEqual(t, int(allocs), own)
	})
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		own := overAllocs(t, a)
		tx, rx := semOver[[]byte](t, a), semOver[[]byte](t, b)
		v := make([]byte, 1000)
		buf := [][]byte{make([]byte, 1000)}
		allocs := testing.AllocsPerRun(200, func() {
			if tx.Send(v) != nil {
				t.Error("send")
			}
			if n, _ := rx.RecvBatch(buf); n != 1 {
				t.Error("receive")
			}
		})
		require.LessOrEqual(t, int(allocs), own)
	})
}

func overAllocs(t *testing.T, c fallback.Conn) int {
	if _, ok := c.(*memConn); ok {
		t.Skip("this one allocates for each message")
	}
	if !c.Capabilities().Receive {
		return 0
	}
	buf := make([]byte, 0, 1<<13)
	return int(testing.AllocsPerRun(100, func() {
		if _, err := c.TryReceive(buf); !errors.Is(err, fallback.ErrWouldBlock) {
			t.Error(err)
		}
	}))
}
