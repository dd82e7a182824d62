//go:build linux

package channel_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

// overCarrier is one kind of Conn that the tests of Over run over: what a sends b
// receives.
type overCarrier struct {
	name string
	open func(t testing.TB) (a, b fallback.Conn)
}

var overCarriers = []overCarrier{
	{"memory queue", func(testing.TB) (a, b fallback.Conn) {
		ends := memShared(2, 8, 1<<16)
		return ends[0], ends[1]
	}},
	{"memory pair", func(testing.TB) (fallback.Conn, fallback.Conn) { return memConns(memPair(8, 1<<16)) }},
	{"memory pipe", func(testing.TB) (fallback.Conn, fallback.Conn) { return memConns(memOneWay(8, 1<<16)) }},
	{"Pipe", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		r, w, err := fallback.Pipe()
		require.NoError(t, err)
		return w, r
	}},
	{"PacketPipe", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		r, w, err := fallback.PacketPipe()
		require.NoError(t, err)
		return w, r
	}},
	{"FIFO", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		path := filepath.Join(t.TempDir(), "fifo")
		r, err := fallback.FIFO(context.Background(), path, os.O_RDONLY|os.O_CREATE)
		require.NoError(t, err)
		w, err := fallback.FIFO(context.Background(), path, os.O_WRONLY)
		require.NoError(t, err)
		return w, r
	}},
	{"MQ", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		name := newName(t.Name())
		a := overQueue(t, name)
		b := overQueue(t, name)
		require.NoError(t, fallback.UnlinkQueue(name))
		return a, b
	}},
	{"MQ pair", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		x, y := newName(t.Name()), newName(t.Name())
		open := func(out, in string) fallback.Conn {
			o, err := fallback.OpenQueue(out, os.O_WRONLY|os.O_CREATE, 0o600, &overAttr)
			require.NoError(t, err)
			i, err := fallback.OpenQueue(in, os.O_RDONLY|os.O_CREATE, 0o600, &overAttr)
			require.NoError(t, err)
			c, err := fallback.MQOver(o, i)
			require.NoError(t, err)
			return c
		}
		a, b := open(x, y), open(y, x)
		require.NoError(t, fallback.UnlinkQueue(x))
		require.NoError(t, fallback.UnlinkQueue(y))
		return a, b
	}},
	{"Shm", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		a, b, err := fallback.ShmPair(fallback.ShmOptions{Messages: 16})
		require.NoError(t, err)
		return a, b
	}},
	{"UnixStream", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		a, b, err := fallback.UnixStreamPair()
		require.NoError(t, err)
		return a, b
	}},
	{"UnixSeqpacket", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		a, b, err := fallback.UnixSeqpacketPair()
		require.NoError(t, err)
		return a, b
	}},
	{"UnixDatagram", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		a, b, err := fallback.UnixDatagramPair()
		require.NoError(t, err)
		return a, b
	}},
	{"TCP", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		l, err := fallback.ListenTCP("127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		a, err := fallback.DialTCP(context.Background(), l.Addr())
		require.NoError(t, err)
		b, err := l.Accept(context.Background())
		require.NoError(t, err)
		return a, b
	}},
	{"CrossMemory", func(t testing.TB) (fallback.Conn, fallback.Conn) {
		a, b, err := fallback.CrossMemoryPair(fallback.CrossMemoryOptions{AllowPeer: true})
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		require.NoError(t, err)
		return a, b
	}},
}

var overAttr = fallback.QueueAttr{MaxMessages: 8, MessageSize: 8192}

func overQueue(t testing.TB, name string) fallback.Conn {
	c, err := fallback.MQ(name, os.O_RDWR|os.O_CREATE, 0o600, &overAttr)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	return c
}

func memConns(a, b *memConn) (fallback.Conn, fallback.Conn) { return a, b }

// overEach runs f over every carrier.
func overEach(t *testing.T, f func(t *testing.T, a, b fallback.Conn)) {
	for _, k := range overCarriers {
		t.Run(k.name, func(t *testing.T) {
			a, b := k.open(t)
			t.Cleanup(func() { a.Close(); b.Close() })
			f(t, a, b)
		})
	}
}

// overEachOf does it with a channel at each end.
func overEachOf[T any](t *testing.T, f func(t *testing.T, tx, rx *channel.Chan[T]), opts ...channel.Option) {
	overEach(t, func(t *testing.T, a, b fallback.Conn) {
		f(t, semOver[T](t, a, opts...), semOver[T](t, b, opts...))
	})
}

// noticesEnd says whether the end of the other side is noticed.
func noticesEnd(c fallback.Conn) bool { return c.Capabilities().EndOfFile }

func TestOverEveryKindOfValueGoesThroughEveryCarrier(t *testing.T) {
	overKind(t, "uint64", semUints)
	overKind(t, "64 bytes", semWides)
	overKind(t, "5000 bytes", semHuges)
	overKind(t, "[]byte", semBytes)
	overKind(t, "string", semStrings)
	overKind(t, "CBOR", semRecords)
	overKind(t, "time.Time", semTimes)
}

func overKind[T any](t *testing.T, name string, k semKind[T]) {
	t.Run(name, func(t *testing.T) {
		overEach(t, func(t *testing.T, a, b fallback.Conn) {
			if b.Kind() == fallback.KindPipe && b.MaxMessage() < 5100 && name == "5000 bytes" {
				_, err := channel.Over[T](a)
				require.ErrorIs(t, err, channel.ErrTooLarge)
				return
			}
			tx, rx := semOver[T](t, a, k.opts...), semOver[T](t, b, k.opts...)
			k.streams(t, tx, rx, 100)
			for i := range 2 {
				require.NoError(t, tx.Send(k.gen(i)))
			}
			require.NoError(t, tx.Close())
			i := 0
			for v := range rx.All() {
				require.True(t, k.same(k.gen(i), v))
				i++
			}
			require.Equal(t, 2, i)
			k.isClosed(t, tx, rx)
			require.True(t, rx.Stats().Closed)
		})
	})
}

func TestOverEmptyAndZeroMessages(t *testing.T) {
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[struct{}]) {
		require.NoError(t, tx.Send(struct{}{}))
		require.NoError(t, tx.TrySend(struct{}{}))
		_, ok := rx.Recv()
		require.True(t, ok)
		require.NoError(t, rx.RecvFunc(func(p *struct{}) error { require.NotNil(t, p); return nil }))
		l, err := tx.Reserve()
		require.NoError(t, err)
		require.NoError(t, l.Commit())
		_, ok = rx.Recv()
		require.True(t, ok)
	})
	overEachOf(t, func(t *testing.T, tx, rx *channel.Chan[[]byte]) {
		require.NoError(t, tx.Send(nil))
		v, ok := rx.Recv()
		require.True(t, ok)
		require.NotNil(t, v)
		require.Empty(t, v)
	})
}

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

// overSendUntil sends until that fails: the kernel may take some before it knows.
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

// overAllocs is what a carrier itself allocates when a receive finds nothing, as the look for
// the other side's Close does before each send.
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
