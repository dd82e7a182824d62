package fallback

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lockKind is one of the three kinds, on the whole file.
type lockKind struct {
	name   string
	lock   func(context.Context, *os.File, LockMode) error
	try    func(*os.File, LockMode) error
	unlock func(*os.File) error
}

var lockKinds = []lockKind{
	{"flock", Flock, TryFlock, Funlock},
	{
		"record",
		func(ctx context.Context, f *os.File, m LockMode) error { return RecordLock(ctx, f, m, LockRange{}) },
		func(f *os.File, m LockMode) error { return TryRecordLock(f, m, LockRange{}) },
		func(f *os.File) error { return RecordUnlock(f, LockRange{}) },
	},
	{
		"ofd",
		func(ctx context.Context, f *os.File, m LockMode) error { return OFDLock(ctx, f, m, LockRange{}) },
		func(f *os.File, m LockMode) error { return TryOFDLock(f, m, LockRange{}) },
		func(f *os.File) error { return OFDUnlock(f, LockRange{}) },
	},
}

func init() {
	// lock-holder takes a lock, says so, and holds it until its standard input ends.
	roles["lock-holder"] = func() {
		f, err := os.OpenFile(os.Getenv("LOCK_FILE"), os.O_RDWR, 0)
		memMust(err)
		for _, k := range lockKinds {
			if k.name == os.Getenv("LOCK_KIND") {
				mode := LockExclusive
				if os.Getenv("LOCK_SHARED") != "" {
					mode = LockShared
				}
				memMust(k.lock(forever, f, mode))
			}
		}
		fmt.Println("held")
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

// lockHeld is a child that holds the lock; release makes it end.
func lockHeld(t *testing.T, kind, path string, env ...string) (cmd *exec.Cmd, release func()) {
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), append(env, "SHMCHAN_ROLE=lock-holder", "LOCK_KIND="+kind, "LOCK_FILE="+path)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held\n", line)
	return cmd, func() { in.Close(); _ = cmd.Wait() }
}

func lockFile(t *testing.T) *os.File {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestLockExcludesAnotherProcess(t *testing.T) {
	for _, k := range lockKinds {
		t.Run(k.name, func(t *testing.T) {
			f := lockFile(t)
			_, release := lockHeld(t, k.name, f.Name())
			require.ErrorIs(t, k.try(f, LockExclusive), ErrWouldBlock)
			require.ErrorIs(t, k.try(f, LockShared), ErrWouldBlock)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, k.lock(ctx, f, LockShared), context.DeadlineExceeded)
			release()
			require.NoError(t, k.try(f, LockExclusive))
			require.NoError(t, k.unlock(f))
			require.NoError(t, k.unlock(f), "what is not held")
		})
	}
}

func TestLockSharedByManyExcludesAWriter(t *testing.T) {
	for _, k := range lockKinds {
		t.Run(k.name, func(t *testing.T) {
			f := lockFile(t)
			_, release := lockHeld(t, k.name, f.Name(), "LOCK_SHARED=1")
			require.NoError(t, k.try(f, LockShared))
			require.ErrorIs(t, k.try(f, LockExclusive), ErrWouldBlock)
			release()
			require.NoError(t, k.lock(forever, f, LockExclusive))
		})
	}
}

func TestLockWaitersGetItWhenTheHolderIsKilled(t *testing.T) {
	for _, k := range lockKinds {
		for _, cancellable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/cancellable=%v", k.name, cancellable), func(t *testing.T) {
				f := lockFile(t)
				cmd, _ := lockHeld(t, k.name, f.Name())
				var ctx context.Context
				if cancellable {
					c, cancel := context.WithCancel(context.Background())
					defer cancel()
					ctx = c
				}
				done := make(chan error)
				go func() { done <- k.lock(ctx, f, LockExclusive) }()
				select {
				case err := <-done:
					t.Fatalf("held by another, and: %v", err)
				case <-time.After(5 * time.Millisecond):
				}
				require.NoError(t, cmd.Process.Kill())
				require.NoError(t, <-done)
			})
		}
	}
}

func TestLockRanges(t *testing.T) {
	f := lockFile(t)
	g, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
	require.NoError(t, err)
	defer g.Close()
	require.NoError(t, TryOFDLock(f, LockExclusive, LockRange{10, 10}))
	require.NoError(t, TryOFDLock(g, LockExclusive, LockRange{0, 10}))
	require.NoError(t, TryOFDLock(g, LockExclusive, LockRange{Start: 20}))
	require.ErrorIs(t, TryOFDLock(g, LockShared, LockRange{19, 1}), ErrWouldBlock)
	h, err := OFDLockHolder(g, LockShared, LockRange{})
	require.NoError(t, err)
	require.Equal(t, &LockHolder{PID: -1, Mode: LockExclusive, Range: LockRange{10, 10}}, h)
	require.NoError(t, OFDUnlock(f, LockRange{15, 5})) // cut short
	require.NoError(t, TryOFDLock(g, LockShared, LockRange{15, 5}))
	h, err = OFDLockHolder(g, LockShared, LockRange{15, 100})
	require.NoError(t, err)
	require.Nil(t, h)
	for _, r := range []LockRange{{-1, 1}, {1, -1}, {1 << 62, 1 << 62}} {
		require.ErrorIs(t, TryOFDLock(f, LockShared, r), fs.ErrInvalid)
		require.ErrorIs(t, TryRecordLock(f, LockShared, r), fs.ErrInvalid)
	}
	require.ErrorIs(t, TryOFDLock(f, LockExclusive, LockRange{1<<62 - 1, 1}), ErrWouldBlock)
}

func TestLockRecordHolderIsTheProcess(t *testing.T) {
	f := lockFile(t)
	cmd, release := lockHeld(t, "record", f.Name())
	h, err := RecordLockHolder(f, LockShared, LockRange{})
	require.NoError(t, err)
	require.Equal(t, &LockHolder{PID: cmd.Process.Pid, Mode: LockExclusive}, h)
	h, err = OFDLockHolder(f, LockShared, LockRange{}) // the two kinds see each other
	require.NoError(t, err)
	require.Equal(t, cmd.Process.Pid, h.PID)
	release()
	h, err = RecordLockHolder(f, LockExclusive, LockRange{})
	require.NoError(t, err)
	require.Nil(t, h)
}

// The trap, and why record locks are for meeting others only.
func TestLockRecordIsLostAtAnyCloseAndOFDIsNot(t *testing.T) {
	for _, k := range lockKinds {
		f := lockFile(t)
		require.NoError(t, k.try(f, LockExclusive))
		g, err := os.Open(f.Name())
		require.NoError(t, err)
		g.Close()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=lock-try", "LOCK_KIND="+k.name, "LOCK_FILE="+f.Name())
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Equal(t, k.name == "record", string(out) == "free", "%s: %s", k.name, out)
	}
}

func init() {
	roles["lock-try"] = func() {
		f, err := os.OpenFile(os.Getenv("LOCK_FILE"), os.O_RDWR, 0)
		memMust(err)
		for _, k := range lockKinds {
			if k.name == os.Getenv("LOCK_KIND") {
				switch err := k.try(f, LockExclusive); {
				case err == nil:
					fmt.Print("free")
				case errors.Is(err, ErrWouldBlock):
					fmt.Print("held")
				default:
					panic(err)
				}
			}
		}
	}
}

// Two processes, each of which waits for what the other one has.
func TestLockRecordDeadlockIsNoticed(t *testing.T) {
	f := lockFile(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=lock-deadlock", "LOCK_FILE="+f.Name())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, RecordLock(forever, f, LockExclusive, LockRange{0, 1}))
	require.NoError(t, cmd.Start())
	lines := make(chan string)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			lines <- sc.Text()
		}
	}()
	require.Equal(t, "ready", <-lines)
	mine := make(chan error, 1)
	go func() { mine <- RecordLock(forever, f, LockExclusive, LockRange{1, 1}) }()
	fmt.Fprintln(in)
	select {
	case err = <-mine: // this side closed the circle
		require.ErrorIs(t, err, syscall.EDEADLK)
		require.NoError(t, RecordUnlock(f, LockRange{0, 1}))
		require.Equal(t, "got", <-lines)
	case line := <-lines:
		require.Equal(t, "deadlock", line)
		in.Close() // it gives up
		require.NoError(t, <-mine)
	}
	in.Close()
	for range lines {
	}
	require.NoError(t, cmd.Wait())
}

func init() {
	roles["lock-deadlock"] = func() {
		f, err := os.OpenFile(os.Getenv("LOCK_FILE"), os.O_RDWR, 0)
		memMust(err)
		memMust(RecordLock(forever, f, LockExclusive, LockRange{1, 1}))
		fmt.Println("ready")
		in := bufio.NewReader(os.Stdin)
		_, _ = in.ReadString('\n')
		switch err := RecordLock(forever, f, LockExclusive, LockRange{0, 1}); {
		case err == nil:
			fmt.Println("got")
		case errors.Is(err, syscall.EDEADLK):
			fmt.Println("deadlock")
		default:
			panic(err)
		}
		_, _ = in.ReadString('\n')
	}
}

func TestLockOnAClosedOrUnfitFile(t *testing.T) {
	f := lockFile(t)
	r, err := os.Open(f.Name())
	require.NoError(t, err)
	defer r.Close()
	require.ErrorIs(t, TryOFDLock(r, LockExclusive, LockRange{}), syscall.EBADF)
	require.ErrorIs(t, TryRecordLock(r, LockExclusive, LockRange{}), syscall.EBADF)
	require.NoError(t, TryFlock(r, LockExclusive))
	f.Close()
	for _, k := range lockKinds {
		require.ErrorIs(t, k.try(f, LockShared), os.ErrClosed)
		require.ErrorIs(t, k.lock(forever, f, LockShared), os.ErrClosed)
		require.ErrorIs(t, k.unlock(f), os.ErrClosed)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.ErrorIs(t, k.lock(ctx, r, LockShared), context.Canceled)
	}
}
