package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	childParts["denied"] = childDenied
	childParts["reread"] = childReread
}

// things are what may stand under a name and is no object of a page or more.
var things = map[string]func(t *testing.T, path string){
	"directory": func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) },
	"symbolic link": func(t *testing.T, path string) {
		require.NoError(t, os.WriteFile(path+".target", make([]byte, 8192), 0o600))
		require.NoError(t, os.Symlink(path+".target", path))
	},
	"FIFO": func(t *testing.T, path string) { require.NoError(t, unix.Mkfifo(path, 0o600)) },
	"socket": func(t *testing.T, path string) {
		// Bound by hand: the path of a listener would be removed with it.
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer closeFd(fd)
		require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	},
	"empty":     func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, nil, 0o600)) },
	"cut short": func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, make([]byte, 4095), 0o600)) },
}

func TestOpenSaysWhatIsThereInstead(t *testing.T) {
	errnos := map[string]error{
		"directory": syscall.EISDIR, "symbolic link": syscall.ELOOP, "socket": syscall.ENXIO,
	}
	dir := memoryDir(t)
	for what, make := range things {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(dir, what)
			make(t, path)
			before, err := os.Lstat(path)
			require.NoError(t, err)
			o, err := Open(dir, what, 4096)
			require.Nil(t, o)
			require.ErrorIs(t, err, ErrNotObject)
			require.ErrorContains(t, err, `open "`+path+`"`)
			require.Contains(t, strings.Replace(err.Error(), path, "", 1), what)
			if errno := errnos[what]; errno != nil {
				require.ErrorIs(t, err, errno)
			}
			after, err := os.Lstat(path)
			require.NoError(t, err)
			assert.Equal(t, before, after)
		})
	}
	_, err := Open("/dev", "null", 1)
	require.ErrorIs(t, err, ErrNotObject)
	require.ErrorContains(t, err, "device")
	_, err = Open(dir, "absent", 1)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, ErrNotObject)
	_, err = Open(dir, "a/b", 1)
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = Open(dir+"-none", "x", 1)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestOpenWithoutPermission(t *testing.T) {
	needRoot(t)
	dir := memoryDir(t)
	for name, perm := range map[string]fs.FileMode{"none": 0o600, "read": 0o644, "write": 0o622} {
		o, err := Create(dir, name, 4096, perm, nil)
		require.NoError(t, err)
		require.NoError(t, o.Close())
	}
	require.NoError(t, os.Chmod(dir, 0o755))
	runChild(t, asNobody(child(t, "denied", dir)))
}

func childDenied(args []string) error {
	for _, name := range []string{"none", "read", "write"} {
		if _, err := Open(args[0], name, 1); !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrNotObject) {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := Unlink(args[0], name); !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("unlink %s: %w", name, err)
		}
	}
	if _, err := Create(args[0], "new", 1, 0o600, nil); !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("create: %w", err)
	}
	return nil
}

func TestCloseEndsTheObjectOnce(t *testing.T) {
	name := uniqueName(t)
	o, err := Create("", name, 4096, 0o600, nil)
	require.NoError(t, err)
	ok, err := o.TryLock(0)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, o.Close())
	assert.Nil(t, o.Bytes())
	assert.Equal(t, name, o.Name())
	_, ferr := o.File()
	_, lerr := o.TryLock(1)
	_, herr := o.Held(1)
	for _, err := range []error{o.Close(), o.Sync(), o.Unlock(0), ferr, lerr, herr} {
		assert.ErrorIs(t, err, os.ErrClosed)
		assert.ErrorContains(t, err, name)
	}
}

func TestMappingIsPageAlignedAndKeepsItsLength(t *testing.T) {
	name := uniqueName(t)
	o, err := Create("", name, 10000, 0o600, nil)
	require.NoError(t, err)
	defer o.Close()
	assert.Zero(t, address(o.Bytes())%uintptr(os.Getpagesize()))
	assert.Equal(t, 10000, cap(o.Bytes()))
	require.NoError(t, os.Truncate(filepath.Join(DefaultDir, name), 20000))
	assert.EqualValues(t, 10000, o.Size())
	p, err := Open("", name, 1)
	require.NoError(t, err)
	defer p.Close()
	assert.EqualValues(t, 20000, p.Size())
}

// Sparse, so that it costs two pages.
func TestMappingOfMoreThanFourGiB(t *testing.T) {
	if runtime.GOARCH == "386" || runtime.GOARCH == "arm" {
		t.Skip("the address space has no room for it")
	}
	const size = 5 << 30
	name := uniqueName(t)
	path := filepath.Join(DefaultDir, name)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, size))
	o, err := Open("", name, 1)
	require.NoError(t, err)
	defer o.Close()
	require.EqualValues(t, int64(size), o.Size())
	o.Bytes()[0], o.Bytes()[int(o.Size())-1] = 1, 2
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], size-1)
	require.NoError(t, err)
	assert.Equal(t, byte(2), b[0])
}

func TestContentsOnADiskAreThereAfterReopening(t *testing.T) {
	dir := diskDir(t)
	eachWay(t, func(t *testing.T, way string, f drafter) {
		o, err := create(dir, way, 1<<20, 0o600, nil, f)
		require.NoError(t, err)
		require.NoError(t, pattern(o.Bytes(), 3))
		require.NoError(t, o.Sync())
		require.NoError(t, o.Close())
		runChild(t, child(t, "reread", dir, way))
		o, err = Open(dir, way, 1<<20)
		require.NoError(t, err)
		defer o.Close()
		require.NoError(t, checkPattern(o.Bytes(), 4))
		require.NoError(t, Unlink(dir, way))
	})
}

func childReread(args []string) error {
	o, err := Open(args[0], args[1], 1<<20)
	if err != nil {
		return err
	}
	if err := checkPattern(o.Bytes(), 3); err != nil {
		return err
	}
	_ = pattern(o.Bytes(), 4)
	return o.Close()
}

func TestFromFileRefusesWhatIsNoObject(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	l, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	defer l.Close()
	s, err := l.(*net.TCPListener).File()
	require.NoError(t, err)
	defer s.Close()
	d, err := os.Open(".")
	require.NoError(t, err)
	defer d.Close()
	efd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	require.NoError(t, err)
	e := os.NewFile(uintptr(efd), "eventfd")
	defer e.Close()
	for what, f := range map[string]*os.File{"FIFO": w, "socket": s, "directory": d, "regular file": e} {
		_, err := FromFile(f, 1)
		require.ErrorIs(t, err, ErrNotObject, what)
		require.ErrorContains(t, err, what)
	}
	_, err = FromFile(nil, 1)
	require.ErrorIs(t, err, os.ErrInvalid)
	closed := os.NewFile(uintptr(mustDup(t, d)), "closed")
	require.NoError(t, closed.Close())
	_, err = FromFile(closed, 1)
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestFromFileWantsToReadAndWrite(t *testing.T) {
	name := uniqueName(t)
	o, err := Create("", name, 4096, 0o600, nil)
	require.NoError(t, err)
	defer o.Close()
	for _, flag := range []int{os.O_RDONLY, os.O_WRONLY, unix.O_PATH} {
		f, err := os.OpenFile(filepath.Join(DefaultDir, name), flag, 0)
		require.NoError(t, err)
		_, err = FromFile(f, 1)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.NoError(t, f.Close())
	}
	f, err := o.File()
	require.NoError(t, err)
	_, err = FromFile(f, 4097)
	require.ErrorIs(t, err, ErrNotObject)
	require.ErrorContains(t, err, "cut short")
	require.NoError(t, f.Close())
}

func mustDup(t *testing.T, f *os.File) int {
	fd, err := dup(int(f.Fd()))
	require.NoError(t, err)
	return fd
}
