package fallback

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pipeGuard explains a deadlock; it does not time anything.
func pipeGuard(t *testing.T) {
	t.Helper()
	name := t.Name()
	timer := time.AfterFunc(2*time.Minute, func() { panic("watchdog: " + name + " is stuck") })
	t.Cleanup(func() { timer.Stop() })
}

// pipeAwait returns when ok says so.
func pipeAwait(ok func() bool) {
	for i := 0; !ok(); i++ {
		if i < 1000 {
			runtime.Gosched()
		} else {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

func pipeParked(e *pipeEnd) func() bool { return e.parked.Load }

func pipePattern(n int, salt byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i) ^ byte(i>>8)*31 ^ salt
	}
	return p
}

// pipeSmall is a pipe that holds one page, the writing end, and the reading one.
func pipeSmall(t *testing.T, opts ...PipeOption) (w, r *pipeConn) {
	t.Helper()
	rc, wc, err := Pipe(append([]PipeOption{PipeMaxMessage(1 << 20)}, opts...)...)
	require.NoError(t, err)
	pipeCleanup(t, rc, wc)
	w, r = wc.(*pipeConn), rc.(*pipeConn)
	w.w.capacity, err = SetPipeCapacity(w.w.file, PipeBuf)
	require.NoError(t, err)
	return w, r
}

var pipeModes = map[string][]PipeOption{
	"sole":     {},
	"many":     {PipeManyWriters()},
	"pollable": {PipePollable()},
}

func pipeEachMode(t *testing.T, f func(t *testing.T, opts []PipeOption)) {
	for name, opts := range pipeModes {
		t.Run(name, func(t *testing.T) {
			pipeGuard(t)
			f(t, opts)
		})
	}
}

func TestPipeDropsWhatASendWhoseContextEndedHalfwayHasSent(t *testing.T) {
	pipeEachMode(t, func(t *testing.T, opts []PipeOption) {
		w, r := pipeSmall(t, opts...)
		for _, size := range []int{10_000, 100_000, 4033, 8192} {
			for range 3 {
				ctx, cancel := context.WithCancel(context.Background())
				sent := make(chan error, 1)
				go func() { sent <- w.Send(ctx, pipePattern(size, 1)) }()
				pipeAwait(func() bool { return w.w.parked.Load() || len(sent) > 0 })
				cancel()
				err := <-sent
				go func() { sent <- w.Send(forever, []byte("next")) }()
				if err == nil { // it fitted
					got, err := r.Receive(forever, nil)
					require.NoError(t, err)
					require.Equal(t, pipePattern(size, 1), got)
				} else {
					require.ErrorIs(t, err, context.Canceled)
				}
				got, err := r.Receive(forever, []byte("dst "))
				require.NoError(t, err)
				require.Equal(t, "dst next", string(got))
				require.NoError(t, <-sent)
			}
		}
		_, err := r.TryReceive(nil)
		require.ErrorIs(t, err, ErrWouldBlock)
	})
}

func TestPipeGivesUpAtEachByteOfALongMessage(t *testing.T) {
	pipeGuard(t)
	r, wc, err := Pipe()
	require.NoError(t, err)
	pipeCleanup(t, r, wc)
	w := wc.(*pipeConn).w
	msg := pipePattern(pipeChunkData+20, 3)
	frame := pipeLongHeader + len(msg) + pipeHeader{length: len(msg)}.trailerSize()
	for n := 0; n < frame; n++ {
		left := n // the pipe takes so many bytes, and then says that it is full
		w.perform = func(fd int, vec [][]byte) (int, error) {
			if left == 0 {
				return -1, unix.EAGAIN
			}
			part := vec[0][:min(left, len(vec[0]))]
			left -= len(part)
			return writePipe(fd, [][]byte{part})
		}
		require.ErrorIs(t, wc.TrySend(msg), ErrWouldBlock, "with room for %d bytes", n)
		w.perform = writePipe
		require.NoError(t, wc.TrySend([]byte{byte(n)}))
		got, err := r.TryReceive(nil)
		require.NoError(t, err, "after %d bytes", n)
		require.Equal(t, []byte{byte(n)}, got)
	}
}

func TestPipeTrySendTakesAllOrNothing(t *testing.T) {
	pipeEachMode(t, func(t *testing.T, opts []PipeOption) {
		rc, w, err := Pipe(append(opts, PipeMaxMessage(50_000))...)
		require.NoError(t, err)
		pipeCleanup(t, rc, w)
		rnd := rand.New(rand.NewPCG(1, 2))
		var want [][]byte
		refused := 0
		for range 3000 {
			msg := pipePattern(rnd.IntN(50_000), byte(rnd.Int()))
			switch err := w.TrySend(msg); {
			case err == nil:
				want = append(want, msg)
			case errors.Is(err, ErrWouldBlock):
				refused++
				if len(want) > 0 {
					got, err := rc.Receive(forever, nil)
					require.NoError(t, err)
					require.True(t, bytes.Equal(want[0], got))
					want = want[1:]
				} else {
					_, err := rc.TryReceive(nil) // makes room for what is owed
					require.ErrorIs(t, err, ErrWouldBlock)
				}
			default:
				t.Fatal(err)
			}
		}
		require.NotZero(t, refused)
		require.NoError(t, w.Close())
		for _, msg := range want {
			got, err := rc.Receive(forever, nil)
			require.NoError(t, err)
			require.True(t, bytes.Equal(msg, got))
		}
		_, err = rc.Receive(forever, nil)
		require.ErrorIs(t, err, io.EOF)
	})
}

// pipeFrames is the bytes that a Conn with these options puts into a pipe for msgs.
func pipeFrames(t *testing.T, opts []PipeOption, msgs ...[]byte) []byte {
	t.Helper()
	r, w := pipeOSFiles(t)
	c, err := PipeConn(nil, w, opts...)
	require.NoError(t, err)
	out := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(r)
		out <- b
	}()
	for _, m := range msgs {
		require.NoError(t, c.Send(forever, m))
	}
	require.NoError(t, c.Close())
	return <-out
}

func TestPipeReadsFramesThatComeInPieces(t *testing.T) {
	pipeEachMode(t, func(t *testing.T, opts []PipeOption) {
		msgs := [][]byte{pipePattern(10, 1), {}, pipePattern(5000, 2), pipePattern(4080, 3), pipePattern(9000, 4), pipePattern(64, 5)}
		stream := pipeFrames(t, opts, msgs...)
		for _, step := range []int{1, 7, 16, 63, 64, 4096, len(stream)} {
			r, w := pipeOSFiles(t)
			c, err := PipeConn(r, nil, opts...)
			require.NoError(t, err)
			pipeCleanup(t, c)
			left := msgs
			for piece := range slices.Chunk(stream, step) {
				_, err := w.Write(piece)
				require.NoError(t, err)
				for {
					got, err := c.TryReceive([]byte("x"))
					if errors.Is(err, ErrWouldBlock) {
						require.Equal(t, "x", string(got))
						break
					}
					require.NoError(t, err)
					require.Equal(t, append([]byte("x"), left[0]...), got)
					left = left[1:]
				}
			}
			require.Empty(t, left, "in pieces of %d bytes", step)
		}
	})
}

func TestPipeReceiveWhoseContextEndsTakesNothing(t *testing.T) {
	pipeEachMode(t, func(t *testing.T, opts []PipeOption) {
		msg := pipePattern(30_000, 9)
		stream := pipeFrames(t, opts, msg)
		r, w := pipeOSFiles(t)
		c, err := PipeConn(r, nil, opts...)
		require.NoError(t, err)
		pipeCleanup(t, c)
		for piece := range slices.Chunk(stream[:len(stream)-1], 7000) {
			ctx, cancel := context.WithCancel(context.Background())
			got := make(chan error, 1)
			go func() {
				_, err := c.Receive(ctx, nil)
				got <- err
			}()
			_, err := w.Write(piece)
			require.NoError(t, err)
			end := &c.(*pipeConn).r.pipeEnd
			pipeAwait(func() bool { return end.parked.Load() && end.nothingCame() })
			cancel()
			require.ErrorIs(t, <-got, context.Canceled)
		}
		_, err = w.Write(stream[len(stream)-1:])
		require.NoError(t, err)
		got, err := c.Receive(context.Background(), []byte("x"))
		require.NoError(t, err)
		require.Equal(t, append([]byte("x"), msg...), got)
	})
}

func TestPipeEndsInMidMessageWithEOF(t *testing.T) {
	pipeEachMode(t, func(t *testing.T, opts []PipeOption) {
		stream := pipeFrames(t, opts, []byte("whole"), pipePattern(20_000, 1))
		for cut := 0; cut < len(stream); cut += 1 + cut/7 {
			r, w := pipeOSFiles(t)
			c, err := PipeConn(r, nil, opts...)
			require.NoError(t, err)
			_, err = w.Write(stream[:cut])
			require.NoError(t, err)
			require.NoError(t, w.Close())
			if cut >= pipeHeaderSize+5 {
				got, err := c.Receive(forever, nil)
				require.NoError(t, err)
				require.Equal(t, "whole", string(got))
			}
			for range 2 {
				got, err := c.Receive(forever, nil)
				require.ErrorIs(t, err, io.EOF, "cut after %d bytes", cut)
				require.Empty(t, got)
			}
			require.NoError(t, c.Close())
		}
	})
}

func TestPipeWithoutReaderIsEPIPE(t *testing.T) {
	pipeEachMode(t, func(t *testing.T, opts []PipeOption) {
		w, r := pipeSmall(t, opts...)
		sent := make(chan error, 1)
		go func() { sent <- w.Send(forever, make([]byte, 50_000)) }()
		pipeAwait(pipeParked(&w.w.pipeEnd))
		require.NoError(t, r.Close())
		require.ErrorIs(t, <-sent, syscall.EPIPE)
		require.ErrorIs(t, w.Send(context.Background(), nil), syscall.EPIPE)
		require.ErrorIs(t, w.TrySend([]byte("x")), syscall.EPIPE)
	})
}

func TestPipeMessagesCostNoAllocation(t *testing.T) {
	pipeEachMode(t, func(t *testing.T, opts []PipeOption) {
		r, w, err := Pipe(opts...)
		require.NoError(t, err)
		pipeCleanup(t, r, w)
		for _, size := range []int{0, 64, 4081, 64 << 10} {
			msg, buf := make([]byte, size), make([]byte, 0, size)
			trip := func() {
				err = errors.Join(err, w.Send(forever, msg))
				_, failed := r.Receive(forever, buf)
				err = errors.Join(err, failed)
			}
			for range 10 {
				trip()
			}
			require.Zero(t, testing.AllocsPerRun(200, trip), "%d bytes", size)
			require.NoError(t, err)
			require.Zero(t, testing.AllocsPerRun(100, func() {
				if _, failed := r.TryReceive(buf); failed != ErrWouldBlock { // it is not wrapped
					err = failed
				}
			}))
			require.NoError(t, err)
		}
	})
}

func TestPipeLeavesTheFlagsOfInheritedDescriptionsAlone(t *testing.T) {
	var fds [2]int
	require.NoError(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	kept, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(kept)
	r, err := PipeEnd(uintptr(fds[0]))
	require.NoError(t, err)
	w, err := PipeEnd(uintptr(fds[1]))
	require.NoError(t, err)
	pipeCleanup(t, r, w)
	require.Equal(t, Capabilities{Receive: true, Ordered: true, Reliable: true, EndOfFile: true}, r.Capabilities())
	flags, err := unix.FcntlInt(uintptr(kept), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.Zero(t, flags&unix.O_NONBLOCK)
	require.NoError(t, w.Send(forever, []byte("x")))
	got, err := r.Receive(forever, nil)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
}

func TestPipeRefusesWhatIsNoPipe(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/file")
	require.NoError(t, err)
	defer f.Close()
	_, err = PipeConn(f, nil)
	require.ErrorIs(t, err, errNoPipe)
	_, err = PipeConn(nil, nil)
	require.Error(t, err)
	_, err = PipeEnd(1 << 20)
	require.ErrorIs(t, err, syscall.EBADF)
	r, w := pipeOSFiles(t)
	_, err = PipeConn(w, r) // the wrong way round
	require.ErrorIs(t, err, syscall.EBADF)
	for _, most := range []int{-1, 0, pipeMaxMessageLimit + 1} {
		_, _, err = Pipe(PipeMaxMessage(most))
		require.Error(t, err)
	}
}
