package futexsem

import (
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestFutexWaitReturnsAtOnceWhenTheWordDiffers(t *testing.T) {
	guard(t)
	word := new(uint32)
	*word = 7
	for _, timeout := range []time.Duration{-1, 0, time.Hour, math.MaxInt64} {
		require.ErrorIs(t, FutexWait(word, 8, timeout), unix.EAGAIN, "timeout %v", timeout)
	}
}

func TestFutexWaitTimesOut(t *testing.T) {
	guard(t)
	word := new(uint32)
	for _, timeout := range []time.Duration{0, 1, time.Millisecond, 20 * time.Millisecond} {
		before := time.Now()
		var err error
		for err == nil { // nil is a spurious wake-up
			err = FutexWait(word, 0, timeout)
		}
		require.ErrorIs(t, err, unix.ETIMEDOUT)
		require.GreaterOrEqual(t, time.Since(before), timeout)
	}
}

func TestFutexWaitHidesEINTR(t *testing.T) {
	guard(t)
	word := new(uint32)
	var interrupted atomic.Int32 // a sleep with a timeout is; one without, the kernel restarts
	thread, done := make(chan int), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		for atomic.LoadUint32(word) == 0 {
			if err := FutexWait(word, 0, time.Hour); err != nil && err != unix.EAGAIN {
				panic(err)
			}
			interrupted.Add(1)
		}
	}()
	tid := <-thread
	for range 5000 { // an emulator may restart it, too
		if interrupted.Load() >= 10 {
			break
		}
		require.NoError(t, unix.Tgkill(os.Getpid(), tid, unix.SIGURG))
		time.Sleep(10 * time.Microsecond)
	}
	t.Logf("interrupted %d times", interrupted.Load())
	atomic.StoreUint32(word, 1)
	for {
		_, _ = FutexWake(word, 1)
		select {
		case <-done:
			return
		default:
			runtime.Gosched()
		}
	}
}

func TestFutexWakeWakesAtMostN(t *testing.T) {
	guard(t)
	word := new(uint32)
	const sleepers = 5
	woken := make(chan error, sleepers)
	for range sleepers {
		go func() {
			for atomic.LoadUint32(word) == 0 {
				if err := FutexWait(word, 0, -1); err != nil && err != unix.EAGAIN {
					woken <- err
					return
				}
			}
			woken <- nil
		}()
	}
	total := 0
	atomic.StoreUint32(word, 1)
	for total < sleepers { // who has not slept yet never will, so wake until all are back
		n, err := FutexWake(word, 2)
		require.NoError(t, err)
		require.LessOrEqual(t, n, 2)
		select {
		case err := <-woken:
			require.NoError(t, err)
			total++
		default:
		}
	}
	n, err := FutexWake(word, math.MaxInt)
	require.NoError(t, err)
	require.Zero(t, n, "nobody is left")
}

func TestFutexWakeOfNobody(t *testing.T) {
	word := new(uint32)
	for _, n := range []int{math.MinInt, -1, 0, 1, math.MaxInt} {
		woken, err := FutexWake(word, n)
		require.NoError(t, err)
		require.Zero(t, woken)
	}
}

func TestFutexOnMemoryThatIsNotMapped(t *testing.T) {
	mem, err := unix.Mmap(-1, 0, objectSize, unix.PROT_NONE, unix.MAP_SHARED|unix.MAP_ANON)
	require.NoError(t, err)
	c := overlay(mem) // its address only: nothing is read
	require.ErrorIs(t, FutexWait(c.word(), 0, 0), unix.EFAULT)
	require.NoError(t, unix.Munmap(mem))
}

func TestFutexWaitWokenFromAnotherMapping(t *testing.T) {
	guard(t)
	name, mem := newObject(t)
	again, err := mapObject(name)
	require.NoError(t, err)
	defer unix.Munmap(again)
	word, same := overlay(mem).word(), overlay(again).word()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for atomic.LoadUint32(word) == 0 {
			_ = FutexWait(word, 0, -1)
		}
	}()
	atomic.StoreUint32(same, 1)
	for {
		_, err := FutexWake(same, 1)
		require.NoError(t, err)
		select {
		case <-done:
			return
		default:
		}
	}
}
