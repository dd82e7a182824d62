package fallback

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/ring"
	"github.com/shmchan/shmchan/shm"
)

func shmPairOf(t testing.TB, o ShmOptions) (a, b *ShmConn) {
	a, b, err := ShmPair(o)
	require.NoError(t, err)
	miscClose(t, a, b)
	return a, b
}

// The smaller number of both sides holds, and bounds what may wait.
func TestShmConnLimits(t *testing.T) {
	ca, cb, err := memUnixPair()
	require.NoError(t, err)
	other := make(chan *ShmConn)
	go func() {
		b, _ := Shm(forever, cb, ShmOptions{MaxMessage: 100, Space: 1000})
		other <- b
	}()
	a, err := Shm(forever, ca, ShmOptions{MaxMessage: 5000, Messages: 4})
	require.NoError(t, err)
	b := <-other
	require.NotNil(t, b)
	miscClose(t, a, b)
	require.Equal(t, 100, a.MaxMessage())
	require.Equal(t, 100, b.MaxMessage())
	for range 4 {
		require.NoError(t, a.TrySend(nil))
	}
	require.ErrorIs(t, a.TrySend(nil), ErrWouldBlock)
	n := 0
	for ; b.TrySend(make([]byte, 100)) == nil; n++ {
	}
	require.Equal(t, 4, n)
}

// Whatever a peer writes into the memory: an error, no panic, no endless loop.
func TestShmConnHostileMemory(t *testing.T) {
	for seed := range uint64(60) {
		a, b := shmPairOf(t, ShmOptions{Messages: 8, MaxMessage: 1000, Space: 4000})
		rnd := rand.New(rand.NewPCG(seed, 1))
		for range 3 {
			require.NoError(t, b.TrySend(memFill(100, 1)))
		}
		words := len(a.obj.Bytes()) / 8
		for range 2000 {
			at := rnd.IntN(words)
			v := rnd.Uint64()
			if rnd.IntN(2) == 0 {
				v = uint64(rnd.IntN(3000))
			}
			atomic.StoreUint64(memWord(b.obj.Bytes(), 8*at), v)
		}
		for range 20 {
			msg, err := a.TryReceive(nil)
			require.LessOrEqual(t, len(msg), 1000)
			if err != nil {
				require.True(t, errors.Is(err, ErrFrame) || errors.Is(err, ErrWouldBlock) || errors.Is(err, io.EOF), "%v", err)
			}
			err = a.TrySend(memFill(100, 2))
			require.True(t, err == nil || errors.Is(err, ErrFrame) || errors.Is(err, ErrWouldBlock) || errors.Is(err, syscall.EPIPE), "%v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		for range 30 {
			if _, err := a.Receive(ctx, nil); err != nil {
				break
			}
		}
		cancel()
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	}
}

func TestShmConnLengthBeyondTheRingIsNoFrame(t *testing.T) {
	a, b := shmPairOf(t, ShmOptions{})
	require.NoError(t, b.Send(forever, memFill(100, 0)))
	// The descriptors of an SPSC ring of packed messages stand before its Space; find
	// that of the message, by its length.
	mem := b.obj.Bytes()
	for off := 0; off < len(mem); off += 8 {
		if atomic.LoadUint64(memWord(mem, off)) == 100 {
			atomic.StoreUint64(memWord(mem, off), 1<<40)
			break
		}
	}
	_, err := a.Receive(forever, nil)
	require.ErrorIs(t, err, ErrFrame)
}

func TestShmConnHandshakeChecksTheMemory(t *testing.T) {
	geometry := func(messages uint64) *ring.Geometry {
		g, err := ring.Layout(ring.Params{
			Flags: ring.FlagSPSC | ring.FlagPacked, MaxMessage: 1000, Space: 4000, Capacity: messages,
			Description: "fallback.Shm",
		})
		require.NoError(t, err)
		return g
	}
	right := geometry(8)
	cases := map[string]func() *os.File{
		"no memory at all": func() *os.File { f, _ := os.Open(os.DevNull); return f },
		"too short":        func() *os.File { return shmTestFile(t, right.Size(), nil) },
		"not formatted":    func() *os.File { return shmTestFile(t, 2*right.Size(), nil) },
		"other sizes": func() *os.File {
			return shmTestFile(t, 2*right.Size(), func(mem []byte) error {
				g := geometry(9)
				if g.Size() != right.Size() {
					return errors.New("the test needs two geometries of one size")
				}
				_ = ring.Format(mem[:g.Size():g.Size()], g)
				return ring.Format(mem[g.Size():], g)
			})
		},
	}
	for name, file := range cases {
		t.Run(name, func(t *testing.T) {
			for { // until chance makes this side the maker
				a, b, err := memUnixPair()
				require.NoError(t, err)
				fail := make(chan error, 1)
				go func() {
					_, err := Shm(forever, a, ShmOptions{Messages: 8, MaxMessage: 1000, Space: 4000})
					fail <- err
				}()
				s, err := memBegin(forever, b, memFrame{kind: KindShm, max: 1000, room: 4000, addr: 8})
				require.NoError(t, err)
				if s.maker {
					f := file()
					require.NoError(t, s.send(memStepMake, 0, int(f.Fd())))
					f.Close()
					require.ErrorIs(t, <-fail, ErrFrame)
				}
				b.Close()
				if s.maker {
					return
				}
				require.Error(t, <-fail)
			}
		})
	}
}

func shmTestFile(t *testing.T, size int64, init func([]byte) error) *os.File {
	o, err := shm.Memfd("test", size, init)
	require.NoError(t, err)
	defer o.Close()
	f, err := o.File()
	require.NoError(t, err)
	return f
}

// Bytes on the socket after the handshake are an end, not a message.
func TestShmConnStrayBytesEndIt(t *testing.T) {
	a, b := shmPairOf(t, ShmOptions{})
	_, err := b.c.Write([]byte("stray"))
	require.NoError(t, err)
	_, err = a.Receive(forever, nil)
	require.ErrorIs(t, err, io.EOF)
}

// Without membarrier both sides fence by hand.
func TestShmConnFencedByHand(t *testing.T) {
	a, b := shmPairOf(t, ShmOptions{Messages: 2})
	a.fenced, b.fenced = true, true
	done := make(chan error)
	go func() {
		for range 2000 {
			m, err := b.Receive(forever, nil)
			if err == nil {
				err = b.Send(forever, m)
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for i := range 2000 {
		require.NoError(t, a.Send(forever, []byte{byte(i)}))
		m, err := a.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, byte(i), m[0])
	}
	require.NoError(t, <-done)
}
