package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	childParts["passed"] = childPassed
	childParts["unprivileged"] = childUnprivileged
}

func TestMemfdIsSealedAndKeepsItsSize(t *testing.T) {
	const size = 10000
	o, err := Memfd("ticks", size, func(mem []byte) error {
		require.Equal(t, make([]byte, size), mem)
		return pattern(mem, 5)
	})
	require.NoError(t, err)
	defer o.Close()
	assert.Equal(t, "", o.Name())
	assert.EqualValues(t, size, o.Size())
	f, err := o.File()
	require.NoError(t, err)
	defer f.Close()
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	require.NoError(t, err)
	const want = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	assert.Equal(t, want, seals&want)
	for _, to := range []int64{0, size - 1, size + 1, 1 << 20} {
		assert.ErrorIs(t, f.Truncate(to), syscall.EPERM)
	}
	_, err = f.WriteAt([]byte{1}, size)
	assert.ErrorIs(t, err, syscall.EPERM)
	_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	assert.ErrorIs(t, err, syscall.EPERM)
	if memfdNoexec() {
		st, err := f.Stat()
		require.NoError(t, err)
		assert.Zero(t, st.Mode()&0o111, "it can be executed")
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
	require.NoError(t, err)
	assert.NotZero(t, flags&unix.FD_CLOEXEC)
	require.NoError(t, checkPattern(o.Bytes(), 5))
}

func TestMemfdRefusesBadArguments(t *testing.T) {
	for what, c := range map[string]struct {
		label string
		size  int64
		want  error
	}{
		"no size":       {"x", 0, fs.ErrInvalid},
		"negative size": {"x", -1, fs.ErrInvalid},
		"long label":    {strings.Repeat("x", 250), 1, fs.ErrInvalid},
		"NUL in label":  {"a\x00b", 1, fs.ErrInvalid},
		"all of int64":  {"x", math.MaxInt64, syscall.EFBIG},
	} {
		_, err := Memfd(c.label, c.size, nil)
		require.ErrorIs(t, err, c.want, what)
	}
	boom := errors.New("boom")
	_, err := Memfd("x", 1, func([]byte) error { return boom })
	require.ErrorIs(t, err, boom)
	o, err := Memfd(strings.Repeat("x", 249), 1, nil)
	require.NoError(t, err)
	require.NoError(t, o.Close())
}

func TestUnsealedMemfdIsRefused(t *testing.T) {
	for what, c := range map[string]struct {
		flags, seals int
		ok           bool
	}{
		"cannot be sealed": {0, 0, false},
		"not sealed":       {unix.MFD_ALLOW_SEALING, 0, false},
		"may grow":         {unix.MFD_ALLOW_SEALING, unix.F_SEAL_SHRINK, false},
		"may shrink":       {unix.MFD_ALLOW_SEALING, unix.F_SEAL_GROW | unix.F_SEAL_SEAL, false},
		"sealed enough":    {unix.MFD_ALLOW_SEALING, unix.F_SEAL_GROW | unix.F_SEAL_SHRINK, true},
	} {
		t.Run(what, func(t *testing.T) {
			fd, err := unix.MemfdCreate("foreign", c.flags|unix.MFD_CLOEXEC)
			require.NoError(t, err)
			f := os.NewFile(uintptr(fd), "foreign")
			defer f.Close()
			require.NoError(t, f.Truncate(8192))
			if c.seals != 0 {
				_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, c.seals)
				require.NoError(t, err)
			}
			o, err := FromFile(f, 8192)
			if !c.ok {
				require.ErrorIs(t, err, ErrNotSealed)
				return
			}
			require.NoError(t, err)
			require.NoError(t, o.Close())
		})
	}
}

// The file of any kind of object, passed through exec's ExtraFiles, is the same
// memory in the child, with locks of the child's own.
func TestFilePassedToAChild(t *testing.T) {
	makers := map[string]func(t *testing.T) (*Object, error){
		"memfd": func(*testing.T) (*Object, error) { return Memfd("passed", 1<<16, nil) },
		"named": func(t *testing.T) (*Object, error) { return Create("", uniqueName(t), 1<<16, 0o600, nil) },
		"opened": func(t *testing.T) (*Object, error) {
			name := uniqueName(t)
			o, err := Create("", name, 1<<16, 0o600, nil)
			require.NoError(t, err)
			require.NoError(t, o.Close())
			return Open("", name, 1)
		},
		"unlinked": func(t *testing.T) (*Object, error) {
			name := uniqueName(t)
			o, err := Create("", name, 1<<16, 0o600, nil)
			require.NoError(t, err)
			return o, Unlink("", name)
		},
		"unlinked on disk": func(t *testing.T) (*Object, error) {
			dir := diskDir(t)
			o, err := Create(dir, "x", 1<<16, 0o600, nil)
			require.NoError(t, err)
			return o, Unlink(dir, "x")
		},
	}
	for what, mk := range makers {
		t.Run(what, func(t *testing.T) {
			o, err := mk(t)
			require.NoError(t, err)
			defer o.Close()
			require.NoError(t, pattern(o.Bytes(), 1))
			f, err := o.File()
			require.NoError(t, err)
			ok, err := o.TryLock(1)
			require.NoError(t, err)
			require.True(t, ok)
			cmd := child(t, "passed")
			cmd.ExtraFiles = []*os.File{f}
			k := talk(t, cmd)
			require.NoError(t, f.Close())
			require.Equal(t, "mapped", k.line(t))
			require.NoError(t, checkPattern(o.Bytes(), 2))
			held, err := o.Held(2)
			require.NoError(t, err)
			assert.True(t, held, "the child's lock is not seen")
			k.kill()
			held, err = o.Held(2)
			require.NoError(t, err)
			assert.False(t, held, "the dead child's lock is held")
		})
	}
}

func childPassed([]string) error {
	f := os.NewFile(3, "passed")
	o, err := FromFile(f, 1<<16)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := checkPattern(o.Bytes(), 1); err != nil {
		return err
	}
	_ = pattern(o.Bytes(), 2)
	if held, err := o.Held(1); !held {
		return fmt.Errorf("the parent's lock is not seen: %w", err)
	}
	if ok, err := o.TryLock(1); ok {
		return fmt.Errorf("the parent's lock was taken: %w", err)
	}
	if ok, err := o.TryLock(2); !ok {
		return fmt.Errorf("no lock of its own: %w", err)
	}
	fmt.Println("mapped")
	untilEOF()
	return o.Close()
}

// A descriptor that is passed to a process which may not open the file itself maps
// all the same; only the locks say why they are not to be had.
func TestFilePassedToAProcessWithoutPermission(t *testing.T) {
	needRoot(t)
	o, err := Create("", uniqueName(t), 1<<16, 0o600, func(mem []byte) error { return pattern(mem, 1) })
	require.NoError(t, err)
	defer o.Close()
	f, err := o.File()
	require.NoError(t, err)
	defer f.Close()
	cmd := asNobody(child(t, "unprivileged"))
	cmd.ExtraFiles = []*os.File{f}
	runChild(t, cmd)
}

func childUnprivileged([]string) error {
	o, err := FromFile(os.NewFile(3, "passed"), 1<<16)
	if err != nil {
		return err
	}
	if err := checkPattern(o.Bytes(), 1); err != nil {
		return err
	}
	if _, err := o.TryLock(0); !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("lock: %w", err)
	}
	if _, err := o.Held(0); !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("held: %w", err)
	}
	f, err := o.File()
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), o.Close())
}
