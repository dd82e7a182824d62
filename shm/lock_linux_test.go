package shm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	childParts["hold"] = childHold
	childParts["keep"] = childKeep
}

func lockObjects(t *testing.T) map[string][2]*Object {
	name := uniqueName(t)
	a, err := Create("", name, 4096, 0o600, nil)
	require.NoError(t, err)
	b, err := Open("", name, 1)
	require.NoError(t, err)
	m, err := Memfd("locks", 4096, nil)
	require.NoError(t, err)
	f, err := m.File()
	require.NoError(t, err)
	n, err := FromFile(f, 1)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	dir := diskDir(t)
	d, err := Create(dir, "x", 4096, 0o600, nil)
	require.NoError(t, err)
	e, err := Open(dir, "x", 1)
	require.NoError(t, err)
	pairs := map[string][2]*Object{"named": {a, b}, "memfd": {m, n}, "disk": {d, e}}
	t.Cleanup(func() {
		for _, p := range pairs {
			for _, o := range p {
				if err := o.Close(); err != nil {
					assert.ErrorIs(t, err, os.ErrClosed)
				}
			}
		}
	})
	return pairs
}

func TestTwoObjectsInOneProcessSeeEachOthersLocks(t *testing.T) {
	for what, p := range lockObjects(t) {
		t.Run(what, func(t *testing.T) {
			a, b := p[0], p[1]
			expect := func(want bool) func(bool, error) {
				return func(got bool, err error) {
					t.Helper()
					require.NoError(t, err)
					require.Equal(t, want, got)
				}
			}
			for _, i := range []int{0, 1, 63, 1 << 20, math.MaxInt32} {
				expect(false)(a.Held(i))
				expect(false)(b.Held(i))
				expect(true)(a.TryLock(i))
				expect(true)(a.TryLock(i)) // has it still
				expect(false)(a.Held(i))   // not somebody else
				expect(true)(b.Held(i))
				expect(false)(b.TryLock(i))
				require.NoError(t, b.Unlock(i)) // not b's to unlock
				expect(true)(b.Held(i))
				expect(true)(b.TryLock(i ^ 1)) // a neighbour is free
				require.NoError(t, b.Unlock(i^1))
				require.NoError(t, a.Unlock(i))
				expect(false)(b.Held(i))
				expect(true)(b.TryLock(i))
				expect(true)(a.Held(i))
				require.NoError(t, b.Unlock(i))
			}
			_, err := a.TryLock(-1)
			require.ErrorIs(t, err, fs.ErrInvalid)
			_, err = a.Held(-1)
			require.ErrorIs(t, err, fs.ErrInvalid)
			require.ErrorIs(t, a.Unlock(-1), fs.ErrInvalid)

			// Closing a descriptor of the file drops every POSIX lock of the process;
			// these stay.
			expect(true)(a.TryLock(5))
			f, err := a.File()
			require.NoError(t, err)
			g, err := FromFile(f, 1)
			require.NoError(t, err)
			require.NoError(t, errors.Join(f.Close(), g.Close()))
			expect(true)(b.Held(5))
			require.NoError(t, a.Close())
			expect(false)(b.Held(5))
		})
	}
}

// A File handed on keeps descriptions alive, but not the one with the locks.
func TestCloseUnlocksThoughFilesLiveOn(t *testing.T) {
	for what, p := range lockObjects(t) {
		t.Run(what, func(t *testing.T) {
			f, err := p[0].File()
			require.NoError(t, err)
			defer f.Close()
			g := os.NewFile(uintptr(mustDup(t, p[0].file)), "")
			defer g.Close()
			ok, err := p[0].TryLock(7)
			require.NoError(t, err)
			require.True(t, ok)
			require.NoError(t, p[0].Close())
			held, err := p[1].Held(7)
			require.NoError(t, err)
			require.False(t, held)
		})
	}
}

// Between fork and exec a child has copies of all descriptors. Close and Unlock
// free the lock all the same.
func TestCloseUnlocksThoughACopyOfTheDescriptorLivesOn(t *testing.T) {
	p := lockObjects(t)["memfd"]
	copied, err := dup(p[0].lock.fd)
	require.NoError(t, err)
	defer closeFd(copied)
	ok, err := p[0].TryLock(7)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, p[0].Close())
	held, err := p[1].Held(7)
	require.NoError(t, err)
	require.False(t, held)
}

// The holder is killed while a child of its own has a File of the object, and a
// mapping: the lock is free as soon as the holder is gone.
func TestLockOfAKilledProcessIsFreeAtOnce(t *testing.T) {
	hold := func(t *testing.T, prepare func(*exec.Cmd)) {
		name := uniqueName(t)
		o, err := Create("", name, 4096, 0o600, nil)
		require.NoError(t, err)
		defer o.Close()
		r, w, err := os.Pipe() // the grandchild's stdin: it ends with the test
		require.NoError(t, err)
		defer w.Close()
		for i := range 5 {
			cmd := child(t, "hold", name, strconv.Itoa(i))
			cmd.ExtraFiles = []*os.File{r}
			prepare(cmd)
			k := talk(t, cmd)
			require.Equal(t, "held", k.line(t))
			held, err := o.Held(i)
			require.NoError(t, err)
			require.True(t, held)
			ok, err := o.TryLock(i)
			require.NoError(t, err)
			require.False(t, ok)

			// A stopped process is not a dead one.
			require.NoError(t, k.cmd.Process.Signal(syscall.SIGSTOP))
			var status unix.WaitStatus
			_, err = unix.Wait4(k.cmd.Process.Pid, &status, unix.WUNTRACED, nil)
			require.NoError(t, err)
			require.True(t, status.Stopped())
			held, err = o.Held(i)
			require.NoError(t, err)
			require.True(t, held)

			k.kill()
			held, err = o.Held(i)
			require.NoError(t, err)
			require.False(t, held, "held by a dead process")
			ok, err = o.TryLock(i)
			require.NoError(t, err)
			require.True(t, ok)
		}
		require.NoError(t, r.Close())
	}
	t.Run("same PID namespace", func(t *testing.T) { hold(t, func(*exec.Cmd) {}) })
	t.Run("own PID namespace", func(t *testing.T) {
		needRoot(t)
		// Its grandchildren die with the namespace, but its PIDs mean nothing here.
		hold(t, func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID} })
	})
}

func childHold(args []string) error {
	i, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	o, err := Open("", args[0], 1)
	if err != nil {
		return err
	}
	f, err := o.File()
	if err != nil {
		return err
	}
	if ok, err := o.TryLock(i); !ok {
		return fmt.Errorf("not locked: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	exe, err := os.Executable() // /proc may be that of another PID namespace
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=keep")
	cmd.Stdin = os.NewFile(3, "stdin")
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		return err
	}
	var said [7]byte
	if _, err := io.ReadFull(r, said[:]); err != nil || string(said[:]) != "mapped\n" {
		return fmt.Errorf("the keeper said %q: %w", said, err)
	}
	if held, err := o.Held(i); held {
		return fmt.Errorf("its own lock is another's: %w", err)
	}
	fmt.Println("held")
	untilEOF()
	return nil
}

func childKeep([]string) error {
	o, err := FromFile(os.NewFile(3, "kept"), 1)
	if err != nil {
		return err
	}
	fmt.Println("mapped")
	untilEOF()
	return o.Close()
}
