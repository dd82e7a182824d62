package futexsem

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// newMem returns Go's own memory, aligned to 8 bytes: between goroutines it serves as well.
func newMem(size int) []byte {
	words := make([]uint64, size/8+1)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), size)
}

func TestInitChecksItsMemory(t *testing.T) {
	whole := newMem(4 * SizeofSem)
	for _, c := range []struct {
		what string
		mem  []byte
		ok   bool
	}{
		{"nil", nil, false},
		{"empty", whole[:0], false},
		{"one byte short", whole[:SizeofSem-1], false},
		{"exact", whole[:SizeofSem], true},
		{"longer", whole, true},
		{"aligned, not at the start", whole[alignofSem:], true},
		{"off by one", whole[1:], false},
		{"off by half", whole[alignofSem/2:], false},
		{"off by one less than the alignment", whole[alignofSem-1:], false},
	} {
		s, err := Init(c.mem, 1)
		if c.ok {
			require.NoError(t, err, c.what)
			require.Equal(t, 1, s.Value(), c.what)
			continue
		}
		require.ErrorIs(t, err, fs.ErrInvalid, c.what)
		_, err = At(c.mem)
		require.ErrorIs(t, err, fs.ErrInvalid, c.what)
	}
}

func TestInitValueBoundaries(t *testing.T) {
	for _, value := range []uint32{0, 1, 2, math.MaxInt16, SemValueMax - 1, SemValueMax} {
		mem := newMem(SizeofSem)
		s, err := Init(mem, value)
		require.NoError(t, err)
		requireIdle(t, s, int(value))
		again, err := At(mem)
		require.NoError(t, err)
		requireIdle(t, again, int(value))
	}
	for _, value := range []uint32{SemValueMax + 1, math.MaxUint32} {
		_, err := Init(newMem(SizeofSem), value)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
}

func TestInitErasesWhatWasThere(t *testing.T) {
	mem := newMem(SizeofSem + 8)
	for i := range mem {
		mem[i] = 0xaa
	}
	s, err := Init(mem, 0)
	require.NoError(t, err)
	requireIdle(t, s, 0)
	require.Equal(t, byte(0xaa), mem[SizeofSem], "nothing beyond is touched")
}

func TestAtRefusesWhatIsNoSemaphore(t *testing.T) {
	noise := newMem(SizeofSem)
	for i := range noise {
		noise[i] = byte(i*37 + 1)
	}
	private := newMem(SizeofSem)
	_, err := Init(private, 3)
	require.NoError(t, err)
	overlay(private).shared.Store(0) // sem_init with pshared = 0
	for what, mem := range map[string][]byte{"zeros": newMem(SizeofSem), "noise": noise, "private": private} {
		before := string(mem)
		_, err := At(mem)
		require.ErrorIs(t, err, fs.ErrInvalid, what)
		require.Equal(t, before, string(mem), "%s was written to", what)
	}
}

func TestPostStopsAtTheMaximum(t *testing.T) {
	s := newTestSem(t, SemValueMax-1)
	require.NoError(t, s.Post())
	for range 3 {
		require.ErrorIs(t, s.Post(), ErrOverflow)
		requireIdle(t, s, SemValueMax)
	}
	require.NoError(t, s.TryWait())
	require.NoError(t, s.Post())
	requireIdle(t, s, SemValueMax)
}

func TestPostAtTheMaximumFromManyGoroutines(t *testing.T) {
	guard(t)
	const room, posts = 100, 400
	s := newTestSem(t, SemValueMax-room)
	var posted atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range posts / 4 {
				if s.Post() == nil {
					posted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, room, posted.Load())
	requireIdle(t, s, SemValueMax)
}

// Another process can write anything there. A 32-bit layout has no such values.
func TestPostOnAForeignValueDoesNotCarryIntoTheWaiters(t *testing.T) {
	if SizeofSem != 32 {
		t.Skip("the value has 31 bits here")
	}
	mem := newMem(SizeofSem)
	s, err := Init(mem, 0)
	require.NoError(t, err)
	for _, value := range []uint64{SemValueMax + 1, math.MaxUint32} {
		binary.NativeEndian.PutUint64(mem, value)
		require.ErrorIs(t, s.Post(), ErrOverflow)
		require.Equal(t, value, binary.NativeEndian.Uint64(mem))
		_, err = At(mem)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
}

func TestTryWait(t *testing.T) {
	s := newTestSem(t, 2)
	require.NoError(t, s.TryWait())
	require.NoError(t, s.TryWait())
	require.ErrorIs(t, s.TryWait(), ErrWouldBlock)
	require.NoError(t, s.Post())
	require.NoError(t, s.TryWait())
	require.ErrorIs(t, s.TryWait(), ErrWouldBlock)
	requireIdle(t, s, 0)
}

func TestWaitSleepsUntilAPost(t *testing.T) {
	guard(t)
	s := newTestSem(t, 0)
	done := make(chan error)
	go func() { done <- s.Wait() }()
	awaitWaiters(s, 1)
	select {
	case <-done:
		require.Fail(t, "Wait returned without a token")
	default:
	}
	require.NoError(t, s.Post())
	require.NoError(t, <-done)
	requireIdle(t, s, 0)
}

func TestSignalsDoNotEndAWait(t *testing.T) {
	guard(t)
	s := newTestSem(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, wait := range []func() error{s.Wait, func() error { return s.WaitContext(ctx) }} {
		thread, done := make(chan int), make(chan error, 1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			thread <- unix.Gettid()
			done <- wait()
		}()
		tid := <-thread
		awaitWaiters(s, 1)
		for range 200 {
			require.NoError(t, unix.Tgkill(os.Getpid(), tid, unix.SIGURG))
			runtime.Gosched()
		}
		require.Empty(t, done)
		require.NoError(t, s.Post())
		require.NoError(t, <-done)
	}
}

func TestManyGoroutinesLoseNoWakeUp(t *testing.T) {
	guard(t)
	const posters, waiters, each = 4, 8, 3000 // both sides: posters*each tokens
	s := newTestSem(t, 0)
	var wg sync.WaitGroup
	for range waiters {
		wg.Go(func() {
			for range posters * each / waiters {
				check(s.Wait())
			}
		})
	}
	for range posters {
		wg.Go(func() {
			for i := range each {
				check(s.Post())
				if i%64 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
	requireIdle(t, s, 0)
}

// As a lock it must exclude, and order what it protects: -race looks on.
func TestAsALockItExcludesAndOrders(t *testing.T) {
	guard(t)
	heap, err := Init(newMem(SizeofSem), 1)
	require.NoError(t, err)
	for _, s := range []*Sem{newTestSem(t, 1), heap} {
		counter := 0
		var wg sync.WaitGroup
		lock := []func(){
			func() { check(s.Wait()) },
			func() { check(s.WaitContext(t.Context())) },
			func() {
				for errors.Is(s.TryWait(), ErrWouldBlock) {
					runtime.Gosched()
				}
			},
		}
		for _, take := range lock {
			wg.Go(func() {
				for range 2000 {
					take()
					counter++
					check(s.Post())
				}
			})
		}
		wg.Wait()
		require.Equal(t, 6000, counter)
		requireIdle(t, s, 1)
	}
}

func TestWaitContextThatIsDoneTakesNothing(t *testing.T) {
	s := newTestSem(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, s.WaitContext(ctx))
	cancel()
	require.ErrorIs(t, s.WaitContext(ctx), context.Canceled, "no token")
	require.NoError(t, s.Post())
	require.ErrorIs(t, s.WaitContext(ctx), context.Canceled, "a token")
	ctx, cancel = context.WithDeadline(t.Context(), time.Now().Add(-time.Hour))
	defer cancel()
	require.ErrorIs(t, s.WaitContext(ctx), context.DeadlineExceeded)
	requireIdle(t, s, 1)
}

func TestWaitContextWithoutAnEndIsWait(t *testing.T) {
	guard(t)
	s := newTestSem(t, 1)
	require.NoError(t, s.WaitContext(context.Background()))
	go func() {
		awaitWaiters(s, 1)
		check(s.Post())
	}()
	require.NoError(t, s.WaitContext(context.Background()))
	requireIdle(t, s, 0)
}

func TestUncontendedCallsDoNotAllocate(t *testing.T) {
	s := newTestSem(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		check(s.Post())
		check(s.Wait())
		check(s.Post())
		check(s.TryWait())
		check(s.Post())
		check(s.WaitContext(ctx))
		_ = s.TryWait()
	}))
}
