package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What needs a file system of its own is mounted by a child, in a mount namespace
// that ends with it: as root, or as root of a user namespace.

func init() {
	childParts["full"] = childFull
	childParts["cycle"] = childCycle
	childParts["without-proc"] = childWithoutProc
}

// inMountNamespace runs the child's part; skips where it cannot mount.
func inMountNamespace(t *testing.T, cmd *exec.Cmd) {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if uid := os.Geteuid(); uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Skipf("no mount namespace to be had here: %v", err)
	}
	if strings.Contains(out.String(), cannotMount) {
		t.Skip(out.String())
	}
	require.NoError(t, err, out.String())
}

const cannotMount = "cannot mount"

// mount is for children in their own mount namespace.
func mount(kind, dir, options string) error {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount(kind, dir, kind, 0, options)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", cannotMount, kind, err)
	}
	return nil
}

// A tmpfs of 1 MiB.
func TestFullFileSystemIsAnErrorAtCreation(t *testing.T) {
	inMountNamespace(t, child(t, "full", memoryDir(t)))
}

func childFull(args []string) error {
	dir := args[0]
	if err := mount("tmpfs", dir, "size=1m"); err != nil {
		return err
	}
	free := func() uint64 {
		var st unix.Statfs_t
		_ = unix.Statfs(dir, &st)
		return st.Bfree * uint64(st.Bsize)
	}
	all := free()
	refused := func(size int64, f drafter) error {
		before := free()
		_, err := create(dir, "y", size, 0o600, nil, f)
		if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("%d bytes: not ENOSPC: %w", size, err)
		}
		// Past the question of how much is free, as when others were faster.
		d, err := openDir(dir)
		if err != nil {
			return err
		}
		defer closeFd(d)
		made, err := f(d, "y")
		if err != nil {
			return err
		}
		err = reserve(int(made.file.Fd()), size)
		made.discard()
		if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("reserve %d bytes: not ENOSPC: %w", size, err)
		}
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			if e.Name() != "x" {
				return fmt.Errorf("%s is left", e.Name())
			}
		}
		if after := free(); after != before {
			return fmt.Errorf("%d bytes were free, now %d", before, after)
		}
		return err
	}
	for way, f := range ways {
		if err := refused(2<<20, f); err != nil {
			return fmt.Errorf("%s: %w", way, err)
		}
		o, err := create(dir, "x", 768<<10, 0o600, func(mem []byte) error { return pattern(mem, 1) }, f)
		if err != nil {
			return fmt.Errorf("%s: %w", way, err)
		}
		if err := refused(512<<10, f); err != nil {
			return fmt.Errorf("%s: %w", way, err)
		}
		// To the last page; then what was reserved can be written without SIGBUS.
		if err := os.WriteFile(dir+"/fill", make([]byte, free()), 0o600); err != nil {
			return err
		}
		if err := pattern(o.Bytes(), 2); err != nil {
			return err
		}
		if err := errors.Join(os.Remove(dir+"/fill"), o.Close(), Unlink(dir, "x")); err != nil {
			return err
		}
		if free() != all {
			return fmt.Errorf("%s: %d bytes are free at the end, %d were at the beginning", way, free(), all)
		}
	}
	return nil
}

// Ramfs has no fallocate and does not count its blocks; overlayfs is what
// containers stand on.
func TestOtherFileSystems(t *testing.T) {
	layers := diskDir(t)
	for _, layer := range []string{"lower", "upper", "work"} {
		require.NoError(t, os.Mkdir(filepath.Join(layers, layer), 0o700))
	}
	for kind, options := range map[string]string{
		"ramfs":   "",
		"overlay": fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", layers),
	} {
		t.Run(kind, func(t *testing.T) {
			inMountNamespace(t, child(t, "cycle", kind, memoryDir(t), options))
		})
	}
}

func childCycle(args []string) error {
	kind, dir, options := args[0], args[1], args[2]
	if err := mount(kind, dir, options); err != nil {
		return err
	}
	for way, f := range ways {
		if err := cycle(dir, f); err != nil && !errors.Is(err, errNoDraft) {
			return fmt.Errorf("%s: %w", way, err)
		}
	}
	return cycle(dir, draftNameless, draftUnderName)
}

// cycle puts an object through all that it can do.
func cycle(dir string, ways ...drafter) error {
	const size = 100000
	a, err := create(dir, "x", size, 0o640, func(mem []byte) error { return pattern(mem, 1) }, ways...)
	if err != nil {
		return err
	}
	if _, err := create(dir, "x", size, 0o600, nil, ways...); !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("created twice: %w", err)
	}
	st, err := os.Lstat(filepath.Join(dir, "x"))
	if err != nil || st.Mode() != 0o640 {
		return fmt.Errorf("%v: %w", st, err)
	}
	b, err := Open(dir, "x", size)
	if err != nil {
		return err
	}
	f, err := b.File()
	if err != nil {
		return err
	}
	c, err := FromFile(f, size)
	if err != nil {
		return err
	}
	if err := checkPattern(c.Bytes(), 1); err != nil {
		return err
	}
	_ = pattern(c.Bytes(), 2)
	if err := checkPattern(a.Bytes(), 2); err != nil {
		return err
	}
	if ok, err := a.TryLock(1); !ok {
		return fmt.Errorf("lock: %w", err)
	}
	if held, err := b.Held(1); !held {
		return fmt.Errorf("not held: %w", err)
	}
	if held, err := a.Held(1); held || err != nil {
		return fmt.Errorf("held by another: %w", err)
	}
	if err := errors.Join(a.Sync(), a.Close(), b.Close(), c.Close(), f.Close(), Unlink(dir, "x")); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		return fmt.Errorf("left %v: %w", entries, err)
	}
	return nil
}

// Without /proc, named objects are made under a draft name, and their locks come
// through it. Anonymous ones have no second way to a description, and say so.
func TestWithoutProc(t *testing.T) {
	inMountNamespace(t, child(t, "without-proc", memoryDir(t)))
}

func childWithoutProc(args []string) error {
	if err := mount("tmpfs", "/proc", ""); err != nil {
		return err
	}
	o, err := create(args[0], "x", 100, 0o600, nil, draftNameless, draftUnderName)
	if err != nil {
		return err
	}
	p, err := Open(args[0], "x", 100)
	if err != nil {
		return err
	}
	for _, f := range []func(int) (bool, error){o.TryLock, p.Held} {
		if ok, err := f(1); !ok {
			return fmt.Errorf("locks: %w", err)
		}
	}
	if err := errors.Join(o.Close(), p.Close(), Unlink(args[0], "x")); err != nil {
		return err
	}
	entries, err := os.ReadDir(args[0])
	if err != nil || len(entries) != 0 {
		return fmt.Errorf("left %v: %w", entries, err)
	}
	m, err := Memfd("x", 100, nil)
	if err != nil {
		return err
	}
	if _, err := m.TryLock(1); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lock of a memfd: %w", err)
	}
	f, err := m.File()
	if err != nil {
		return err
	}
	n, err := FromFile(f, 100)
	if err != nil {
		return err
	}
	m.Bytes()[99] = 9
	if n.Bytes()[99] != 9 {
		return errors.New("not the same memory")
	}
	return errors.Join(m.Close(), n.Close(), f.Close())
}
