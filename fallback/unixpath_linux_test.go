package fallback

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var bindTypes = map[string]int{"stream": unix.SOCK_STREAM, "dgram": unix.SOCK_DGRAM, "seqpacket": unix.SOCK_SEQPACKET}

// bindTestPath returns a path that nothing has, short enough for a socket.
func bindTestPath(t testing.TB) string {
	dir, err := os.MkdirTemp("", "shmchan")
	require.NoError(t, err)
	t.Cleanup(func() {
		left, _ := filepath.Glob(dir + "/.*" + bindLockSuffix)
		require.Empty(t, left, "lock files are gone")
		require.NoError(t, os.RemoveAll(dir))
	})
	return dir + "/s"
}

func TestBindUnixReplacesAStaleSocketAndNothingElse(t *testing.T) {
	for name, typ := range bindTypes {
		t.Run(name, func(t *testing.T) {
			path := bindTestPath(t)
			live, err := bindUnix(typ, path)
			require.NoError(t, err)
			info, err := os.Lstat(path)
			require.NoError(t, err)
			require.Equal(t, os.ModeSocket|0o600, info.Mode())

			for other, typ := range bindTypes {
				_, err = bindUnix(typ, path)
				require.ErrorIs(t, err, syscall.EADDRINUSE, "%s over a live %s", other, name)
			}
			require.NoError(t, unbindUnix(path), "a live one stays")
			require.FileExists(t, path)
			require.NoError(t, unix.Close(live))

			again, err := bindUnix(typ, path)
			require.NoError(t, err)
			require.NoError(t, unix.Close(again))
			require.NoError(t, unbindUnix(path))
			require.NoFileExists(t, path)
			require.NoError(t, unbindUnix(path), "nothing there")
		})
	}
}

// Another program's socket between its bind and its listen refuses connections like a stale one.
func TestBindUnixSeesABoundSocketThatDoesNotListenYet(t *testing.T) {
	path := bindTestPath(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	_, err = bindUnix(unix.SOCK_STREAM, path)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.FileExists(t, path)
}

func TestBindUnixLeavesOtherFilesAlone(t *testing.T) {
	path := bindTestPath(t)
	stale, err := bindUnix(unix.SOCK_STREAM, path+"tale")
	require.NoError(t, err)
	require.NoError(t, unix.Close(stale))
	for what, make := range map[string]func() error{
		"file":          func() error { return os.WriteFile(path, []byte("x"), 0o600) },
		"directory":     func() error { return os.Mkdir(path, 0o700) },
		"FIFO":          func() error { return unix.Mkfifo(path, 0o600) },
		"link to stale": func() error { return os.Symlink(path+"tale", path) },
		"dangling link": func() error { return os.Symlink(path+"nothing", path) },
	} {
		require.NoError(t, make())
		before, err := os.Lstat(path)
		require.NoError(t, err)
		_, err = bindUnix(unix.SOCK_STREAM, path)
		require.ErrorIs(t, err, syscall.EADDRINUSE, what)
		require.NoError(t, unbindUnix(path))
		after, err := os.Lstat(path)
		require.NoError(t, err, what)
		require.True(t, os.SameFile(before, after), what)
		require.NoError(t, os.Remove(path))
	}
	require.FileExists(t, path+"tale")
}

func TestBindUnixRefusesNamesThatTheKernelWouldMistake(t *testing.T) {
	long := make([]byte, maxUnixName+1)
	for i := range long {
		long[i] = 'x'
	}
	for name, want := range map[string]error{
		"": syscall.EINVAL, "@": syscall.EINVAL, "a\x00b": syscall.EINVAL, "@a\x00": syscall.EINVAL,
		string(long):            syscall.ENAMETOOLONG,
		"/nonexistent/dir/sock": syscall.ENOENT,
	} {
		_, err := bindUnix(unix.SOCK_STREAM, name)
		require.ErrorIs(t, err, want, "%q", name)
	}
}

func TestBindUnixAbstractNameGoesWithItsSocket(t *testing.T) {
	name := fmt.Sprintf("@shmchan-bind-%d-%s", os.Getpid(), t.Name())
	for range 2 {
		fd, err := bindUnix(unix.SOCK_STREAM, name)
		require.NoError(t, err)
		_, err = bindUnix(unix.SOCK_STREAM, name)
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.NoError(t, unix.Close(fd))
		require.NoError(t, unbindUnix(name))
	}
}

// However many start at once over one stale path, exactly one has it, and the path leads to it.
func TestBindUnixStartersNeverRemoveEachOther(t *testing.T) {
	path := bindTestPath(t)
	for range 50 {
		const starters = 8
		var won atomic.Int32
		var fd int
		var wg sync.WaitGroup
		for range starters {
			wg.Go(func() {
				f, err := bindUnix(unix.SOCK_STREAM, path)
				if err == nil {
					won.Add(1)
					fd = f
				} else {
					require.ErrorIs(t, err, syscall.EADDRINUSE)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, won.Load())
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Connect(c, &unix.SockaddrUnix{Name: path}))
		require.NoError(t, unix.Close(c))
		require.NoError(t, unix.Close(fd)) // stale now
	}
}
