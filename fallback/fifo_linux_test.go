package fallback

import (
	"context"
	"errors"
	"fmt"
	"io"
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

func init() {
	roles["fifo make"] = func() { // umask, mode and path; a umask belongs to the whole process
		var umask, mode uint32
		var path string
		if _, err := fmt.Sscanf(os.Getenv("SHMCHAN_ARG"), "%o %o %s", &umask, &mode, &path); err != nil {
			panic(err)
		}
		unix.Umask(int(umask))
		if err := MakeFIFO(path, fs.FileMode(mode)); err != nil {
			panic(err)
		}
	}
}

// pipeChild is this test binary in a role.
func pipeChild(role, arg string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE="+role, "SHMCHAN_ARG="+arg)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestMakeFIFOGivesExactlyThatMode(t *testing.T) {
	for i, mode := range []fs.FileMode{0o600, 0o622, 0o666, 0, 0o777} {
		path := filepath.Join(t.TempDir(), "fifo")
		require.NoError(t, pipeChild("fifo make", fmt.Sprintf("%o %o %s", []int{0, 0o77, 0o777}[i%3], mode, path)).Run())
		st, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, mode|fs.ModeNamedPipe, st.Mode())
	}
	require.ErrorIs(t, MakeFIFO(fifoPath(t), fs.ModeSetuid|0o600), fs.ErrInvalid)
}

func TestFIFORefusesWhatIsNone(t *testing.T) {
	dir := t.TempDir()
	for name, make := range map[string]func(path string) error{
		"file":     func(p string) error { return os.WriteFile(p, []byte("text"), 0o600) },
		"folder":   func(p string) error { return os.Mkdir(p, 0o700) },
		"link":     func(p string) error { return os.Symlink(filepath.Join(dir, "fifo"), p) },
		"dangling": func(p string) error { return os.Symlink(filepath.Join(dir, "nothing"), p) },
		"device":   func(p string) error { return os.Symlink(os.DevNull, p) },
	} {
		require.NoError(t, MakeFIFO(filepath.Join(dir, "fifo"), 0o600))
		path := filepath.Join(dir, name)
		require.NoError(t, make(path))
		for _, flag := range []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE} {
			_, err := FIFO(forever, path, flag)
			require.ErrorIs(t, err, errNoPipe, name)
		}
		require.ErrorIs(t, MakeFIFO(path, 0o600), fs.ErrExist, name)
		_, err := FIFO(forever, path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		require.ErrorIs(t, err, fs.ErrExist, name)
		require.NoError(t, os.Remove(filepath.Join(dir, "fifo")))
	}
	text, err := os.ReadFile(filepath.Join(dir, "file"))
	require.NoError(t, err)
	require.Equal(t, "text", string(text))
	_, err = os.Lstat(filepath.Join(dir, "nothing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = FIFO(forever, filepath.Join(dir, "nothing"), os.O_RDONLY)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = FIFO(forever, filepath.Join(dir, "nothing"), os.O_RDONLY|os.O_TRUNC)
	require.ErrorIs(t, err, syscall.EINVAL)
	_, err = OpenFIFO(forever, filepath.Join(dir, "nothing"), os.O_APPEND)
	require.ErrorIs(t, err, syscall.EINVAL)
}

func TestFIFOWithoutReaderIsENXIO(t *testing.T) {
	path := fifoPath(t)
	require.NoError(t, MakeFIFO(path, 0o600))
	_, err := OpenFIFO(forever, path, os.O_WRONLY|unix.O_NONBLOCK)
	require.ErrorIs(t, err, syscall.ENXIO)
	require.ErrorContains(t, err, "nobody has it open for reading")
	_, err = FIFO(forever, path, os.O_WRONLY|unix.O_NONBLOCK)
	require.ErrorIs(t, err, syscall.ENXIO)
}

// An opened is what an open in a goroutine came to.
type opened struct {
	file *os.File
	err  error
}

func fifoOpening(ctx context.Context, path string, flag int) chan opened {
	c := make(chan opened, 1)
	go func() {
		f, err := OpenFIFO(ctx, path, flag)
		c <- opened{f, err}
	}()
	return c
}

// fifoBlocking opens as C programs do: a thread blocks in open(2).
func fifoBlocking(path string, flag int) chan opened {
	c := make(chan opened, 1)
	go func() {
		f, err := os.OpenFile(path, flag, 0)
		c <- opened{f, err}
	}()
	return c
}

func TestFIFOOpenIsARendezvous(t *testing.T) {
	const r, w = os.O_RDONLY, os.O_WRONLY
	ours := func(path string, flag int) chan opened { return fifoOpening(context.Background(), path, flag) }
	type open func(path string, flag int) chan opened
	for _, tt := range []struct {
		name          string
		first, second open
		flag          int
	}{
		{"our reader meets our writer", ours, ours, r},
		{"our writer meets our reader", ours, ours, w},
		{"our reader meets a blocking writer", ours, fifoBlocking, r},
		{"our writer meets a blocking reader", ours, fifoBlocking, w},
		{"a blocking reader meets our writer", fifoBlocking, ours, r},
		{"a blocking writer meets our reader", fifoBlocking, ours, w},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pipeGuard(t)
			for range 20 {
				path := fifoPath(t)
				require.NoError(t, MakeFIFO(path, 0o600))
				other := w
				if tt.flag == w {
					other = r
				}
				a := tt.first(path, tt.flag)
				b := tt.second(path, other)
				x, y := <-a, <-b
				require.NoError(t, x.err)
				require.NoError(t, y.err)
				from, to := x.file, y.file
				if tt.flag == r {
					from, to = to, from
				}
				_, err := from.WriteString("met")
				require.NoError(t, err)
				require.NoError(t, from.Close())
				text, err := io.ReadAll(to)
				require.NoError(t, err)
				require.Equal(t, "met", string(text))
				require.NoError(t, to.Close())
			}
		})
	}
}

// fifoOpenIn counts this process's descriptors on a FIFO, O_PATH ones not.
func fifoOpenIn(path string) (n int) {
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		to, err := os.Readlink("/proc/self/fd/" + fd.Name())
		flags, _ := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		if err == nil && to == path && !strings.Contains(string(flags), fmt.Sprintf("%o\n", unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)) {
			n++
		}
	}
	return n
}

func TestFIFOOpenWaitsUntilItsContextEnds(t *testing.T) {
	for _, flag := range []int{os.O_RDONLY, os.O_WRONLY} {
		pipeGuard(t)
		path := fifoPath(t)
		require.NoError(t, MakeFIFO(path, 0o600))
		ctx, cancel := context.WithCancel(context.Background())
		a := fifoOpening(ctx, path, flag)
		pipeAwait(func() bool { return fifoOpenIn(path) > 0 })
		select {
		case x := <-a:
			t.Fatalf("opened with nobody at the other end: %v", x.err)
		default:
		}
		cancel()
		x := <-a
		require.ErrorIs(t, x.err, context.Canceled)
		require.Nil(t, x.file)
		require.Zero(t, fifoOpenIn(path))
		_, err := OpenFIFO(ctx, path, flag)
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestFIFOReceiverWaitsForTheFirstWriterAndSeesTheLastGo(t *testing.T) {
	pipeGuard(t)
	path := fifoPath(t)
	r, err := FIFO(forever, path, os.O_RDONLY|os.O_CREATE)
	require.NoError(t, err)
	pipeCleanup(t, r)
	_, err = r.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock)
	ends := make(chan error)
	next := func() {
		_, err := r.Receive(context.Background(), nil)
		ends <- err
	}
	for range 3 {
		go next()
		pipeAwait(pipeParked(&r.(*pipeConn).r.pipeEnd))
		w, err := FIFO(forever, path, os.O_WRONLY)
		require.NoError(t, err)
		require.NoError(t, w.Send(forever, []byte("x")))
		require.NoError(t, <-ends)
		go next()
		require.NoError(t, w.Close())
		require.ErrorIs(t, <-ends, io.EOF)
		// The file system's end of file stays until the next writer comes, so a new end is opened.
		require.NoError(t, r.Close())
		r, err = FIFO(forever, path, os.O_RDONLY)
		require.NoError(t, err)
		pipeCleanup(t, r)
	}
}

func TestFIFOReceiverAwaitsWriters(t *testing.T) {
	pipeGuard(t)
	path := fifoPath(t)
	r, err := FIFO(forever, path, os.O_RDONLY|os.O_CREATE, FIFOAwaitWriters())
	require.NoError(t, err)
	pipeCleanup(t, r)
	require.False(t, r.Capabilities().EndOfFile)
	for i := range 3 {
		w, err := FIFO(forever, path, os.O_WRONLY|unix.O_NONBLOCK)
		require.NoError(t, err)
		require.NoError(t, w.Send(forever, []byte{byte(i)}))
		require.NoError(t, w.Close())
		got, err := r.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, []byte{byte(i)}, got)
		_, err = r.TryReceive(nil)
		require.ErrorIs(t, err, ErrWouldBlock)
	}
	require.NoError(t, r.Close())
	require.Zero(t, fifoOpenIn(path))
}

func TestFIFOForBothIsOneQueue(t *testing.T) {
	path := fifoPath(t)
	a, err := FIFO(forever, path, os.O_RDWR|os.O_CREATE, FIFOPerm(0o640))
	require.NoError(t, err)
	b, err := FIFO(forever, path, os.O_RDWR|os.O_CREATE)
	require.NoError(t, err)
	pipeCleanup(t, a, b)
	st, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o640), st.Mode().Perm())
	require.NoError(t, a.Send(forever, []byte("to whom it may concern")))
	got, err := a.Receive(forever, nil)
	require.NoError(t, err)
	require.Equal(t, "to whom it may concern", string(got))
	require.NoError(t, a.Send(forever, []byte("b")))
	got, err = b.Receive(forever, nil)
	require.NoError(t, err)
	require.Equal(t, "b", string(got))
	require.ErrorIs(t, a.CloseSend(), errors.ErrUnsupported)
	require.NoError(t, a.Close())
	_, err = os.Lstat(path)
	require.NoError(t, err, "the name stays")
}
