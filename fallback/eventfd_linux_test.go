package fallback

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func eventfdNew(t testing.TB, v uint32, sem bool) *Eventfd {
	e, err := NewEventfd(v, sem)
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func TestEventfdCounterIsTakenWhole(t *testing.T) {
	e := eventfdNew(t, 3, false)
	require.NoError(t, e.Add(forever, 4))
	require.NoError(t, e.Signal())
	v, sem, err := e.Value()
	require.NoError(t, err)
	require.EqualValues(t, 8, v)
	require.False(t, sem)
	v, err = e.Wait(forever)
	require.NoError(t, err)
	require.EqualValues(t, 8, v)
	_, err = e.TryWait()
	require.ErrorIs(t, err, ErrWouldBlock)
}

func TestEventfdSemaphoreIsTakenByOne(t *testing.T) {
	e := eventfdNew(t, 2, true)
	for range 2 {
		v, err := e.TryWait()
		require.NoError(t, err)
		require.EqualValues(t, 1, v)
	}
	_, err := e.TryWait()
	require.ErrorIs(t, err, ErrWouldBlock)
}

func TestEventfdLimits(t *testing.T) {
	e := eventfdNew(t, 0, false)
	require.ErrorIs(t, e.Add(forever, EventfdMax+1), fs.ErrInvalid)
	require.ErrorIs(t, e.TryAdd(EventfdMax+1), fs.ErrInvalid)
	require.NoError(t, e.TryAdd(EventfdMax))
	require.ErrorIs(t, e.TryAdd(1), ErrWouldBlock)
	require.NoError(t, e.TryAdd(0))
	require.NoError(t, e.Signal(), "a full counter wakes as it is")
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	require.ErrorIs(t, e.Add(ctx, 1), context.DeadlineExceeded)
	require.ErrorIs(t, e.Add(ctx, 1), context.DeadlineExceeded, "ended before")
	done := make(chan error)
	go func() { done <- e.Add(forever, 5) }()
	v, err := e.Wait(forever)
	require.NoError(t, err)
	require.NoError(t, <-done)
	if v == EventfdMax { // the adder came later
		v, err = e.Wait(forever)
		require.NoError(t, err)
	}
	require.EqualValues(t, 5, v)
}

func TestEventfdWaitersInTheNetpoller(t *testing.T) {
	e := eventfdNew(t, 0, true)
	ctx, cancel := context.WithCancel(context.Background())
	const waiters = 20
	results := make(chan error, 2*waiters)
	for range waiters {
		go func() { _, err := e.Wait(ctx); results <- err }()
		go func() { _, err := e.Wait(forever); results <- err }()
	}
	require.NoError(t, e.Add(forever, waiters/2))
	for range waiters / 2 {
		require.NoError(t, <-results)
	}
	cancel()
	time.AfterFunc(time.Millisecond, func() { _ = e.Close() })
	for range 2*waiters - waiters/2 {
		err := <-results
		require.True(t, errors.Is(err, context.Canceled) || errors.Is(err, os.ErrClosed), "%v", err)
	}
	_, err := e.TryWait()
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, e.Signal(), os.ErrClosed)
	require.ErrorIs(t, e.Close(), os.ErrClosed)
	_, err = e.File()
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestEventfdNoSignalIsLost(t *testing.T) {
	e := eventfdNew(t, 0, false)
	const adders, each = 4, 500
	var wg sync.WaitGroup
	for range adders {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range each {
				if err := e.Signal(); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	for sum := uint64(0); sum < adders*each; {
		v, err := e.Wait(forever)
		require.NoError(t, err)
		sum += v
	}
	wg.Wait()
}

func init() {
	roles["eventfd"] = func() {
		e, err := EventfdFromFile(os.NewFile(3, "eventfd"))
		memMust(err)
		back, err := EventfdFromFile(os.NewFile(4, "eventfd"))
		memMust(err)
		v, err := e.Wait(forever)
		memMust(err)
		memMust(back.Add(forever, v*2))
	}
}

func TestEventfdInherited(t *testing.T) {
	e, back := eventfdNew(t, 0, false), eventfdNew(t, 0, false)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=eventfd")
	cmd.Stderr = os.Stderr
	for _, x := range []*Eventfd{e, back} {
		f, err := x.File()
		require.NoError(t, err)
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	require.NoError(t, cmd.Start())
	require.NoError(t, e.Add(forever, 21))
	v, err := back.Wait(forever)
	require.NoError(t, err)
	require.EqualValues(t, 42, v)
	require.NoError(t, cmd.Wait())
	_, err = e.TryWait() // still non-blocking
	require.ErrorIs(t, err, ErrWouldBlock)
}

func TestEventfdFromFileRefusesOtherFiles(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	_, err = EventfdFromFile(r)
	require.ErrorIs(t, err, fs.ErrInvalid)
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "epoll")
	_, err = EventfdFromFile(f)
	require.ErrorIs(t, err, fs.ErrInvalid)
	f.Close()
	_, err = EventfdFromFile(f)
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestEventfdWithoutDescriptorsSaysSo(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=eventfd-nofile")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func init() {
	roles["eventfd-nofile"] = func() {
		var lim unix.Rlimit
		memMust(unix.Getrlimit(unix.RLIMIT_NOFILE, &lim))
		lim.Cur = 3
		memMust(unix.Setrlimit(unix.RLIMIT_NOFILE, &lim))
		if _, err := NewEventfd(0, false); !errors.Is(err, unix.EMFILE) {
			panic(err)
		}
	}
}

func TestEventfdAllocatesNothing(t *testing.T) {
	if memRaceBuild {
		t.Skip("sync.Pool throws things away under the race detector")
	}
	e := eventfdNew(t, 0, false)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		_ = e.Signal()
		_, _ = e.Wait(forever)
	}))
}
