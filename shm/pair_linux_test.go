package shm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	childParts["pair"] = childPair
	childParts["pair-without-proc"] = childPairWithoutProc
}

func pair(t testing.TB, o *Object) (mem, lock *os.File) {
	t.Helper()
	mem, lock, err := o.Pair()
	require.NoError(t, err)
	t.Cleanup(func() { mem.Close(); lock.Close() })
	return mem, lock
}

func TestPairIsTheSameMemoryWithLocksOfItsOwn(t *testing.T) {
	o, err := Memfd("x", 8192, nil)
	require.NoError(t, err)
	defer o.Close()
	mem, lock := pair(t, o)
	p, err := FromPair(mem, lock, 8192)
	require.NoError(t, err)
	o.Bytes()[8191] = 7
	require.EqualValues(t, 7, p.Bytes()[8191])
	ok, err := p.TryLock(3)
	require.NoError(t, err)
	require.True(t, ok)
	ok, err = o.TryLock(3)
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, p.Close())
	ok, err = o.TryLock(3)
	require.NoError(t, err)
	require.True(t, ok)
}

func TestPairRefusesWhatIsNotSealedMemory(t *testing.T) {
	named, err := Create("", uniqueName(t), 4096, 0o600, nil)
	require.NoError(t, err)
	defer named.Close()
	_, _, err = named.Pair()
	require.ErrorIs(t, err, ErrNotSealed)
	f, err := named.File()
	require.NoError(t, err)
	defer f.Close()
	_, err = FromPair(f, f, 1)
	require.ErrorIs(t, err, ErrNotSealed, "whoever has it could cut it short")

	fd, err := unix.MemfdCreate("unsealed", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	unsealed := os.NewFile(uintptr(fd), "unsealed")
	defer unsealed.Close()
	require.NoError(t, unsealed.Truncate(4096))
	_, err = FromPair(unsealed, unsealed, 1)
	require.ErrorIs(t, err, ErrNotSealed)

	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	_, err = FromPair(r, w, 1)
	require.ErrorIs(t, err, ErrNotObject)
	_, err = FromPair(nil, w, 1)
	require.ErrorIs(t, err, os.ErrInvalid)
}

func runPair(t *testing.T, part string, run func(*testing.T, *exec.Cmd)) {
	o, err := Memfd("x", 8192, nil)
	require.NoError(t, err)
	defer o.Close()
	ok, err := o.TryLock(0)
	require.NoError(t, err)
	require.True(t, ok)
	mem, lock := pair(t, o)
	other, err := Memfd("other", 8192, nil)
	require.NoError(t, err)
	defer other.Close()
	wrong, wrongLock := pair(t, other)
	_ = wrong
	cmd := child(t, part)
	cmd.ExtraFiles = []*os.File{mem, lock, wrongLock}
	run(t, cmd)
	require.EqualValues(t, 5, o.Bytes()[0])
}

func TestPairAcrossUsers(t *testing.T) {
	needRoot(t)
	runPair(t, "pair", func(t *testing.T, cmd *exec.Cmd) { runChild(t, asNobody(cmd)) })
}

func TestPairWithoutProc(t *testing.T) { runPair(t, "pair-without-proc", inMountNamespace) }

func childPairWithoutProc(args []string) error {
	if err := mount("tmpfs", "/proc", ""); err != nil {
		return err
	}
	_, err := FromPair(os.NewFile(3, "mem"), os.NewFile(5, "wrong"), 1)
	if !errors.Is(err, os.ErrInvalid) {
		return fmt.Errorf("a lock descriptor of other memory: %w", err)
	}
	return childPair(args)
}

func childPair([]string) error {
	mem, lock := os.NewFile(3, "mem"), os.NewFile(4, "lock")
	o, err := FromPair(mem, lock, 8192)
	if err != nil {
		return err
	}
	mem.Close()
	lock.Close()
	if ok, err := o.TryLock(0); ok || err != nil {
		return fmt.Errorf("the parent's lock: %v, %w", ok, err)
	}
	if held, err := o.Held(0); !held {
		return fmt.Errorf("the parent's lock is not held: %w", err)
	}
	if ok, err := o.TryLock(1); !ok {
		return fmt.Errorf("a free lock: %w", err)
	}
	o.Bytes()[0] = 5
	return o.Close()
}
