//go:build linux

package channel_test

import (
	"context"
	"errors"
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

// overSendUntil sends until that fails: the kernel may take some before it knows.

// overAllocs is what a carrier itself allocates when a receive finds nothing, as the look for

// the other side's Close does before each send.
