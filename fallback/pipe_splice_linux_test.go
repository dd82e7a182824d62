package fallback

import (
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSpliceMovesFileToPipeToSocketToPipeToFile(t *testing.T) {
	pipeGuard(t)
	want := pipePattern(3<<20, 1)
	src, err := os.Create(t.TempDir() + "/src")
	require.NoError(t, err)
	defer src.Close()
	_, err = src.Write(want)
	require.NoError(t, err)
	_, err = src.Seek(0, io.SeekStart)
	require.NoError(t, err)
	dst, err := os.Create(t.TempDir() + "/dst")
	require.NoError(t, err)
	defer dst.Close()

	l, err := net.Listen("unix", t.TempDir()+"/socket")
	require.NoError(t, err)
	defer l.Close()
	out, err := net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	defer out.Close()
	in, err := l.Accept()
	require.NoError(t, err)
	defer in.Close()

	r1, w1 := pipeOSFiles(t)
	r2, w2 := pipeOSFiles(t)
	type result struct {
		moved int64
		err   error
	}
	results := make(chan result)
	hop := func(to, from syscall.Conn, n int64, done func()) {
		go func() {
			moved, err := Splice(to, from, n)
			done()
			results <- result{moved, err}
		}()
	}
	hop(w1, src, 1<<40, func() { w1.Close() })                             // until the file's end
	hop(out.(*net.UnixConn), r1, int64(len(want)), func() { out.Close() }) // so many
	hop(w2, in.(*net.UnixConn), 1<<40, func() { w2.Close() })              // until the socket's end
	hop(dst, r2, int64(len(want)), func() {})                              // so many
	for range 4 {
		r := <-results
		require.NoError(t, r.err)
		require.Equal(t, int64(len(want)), r.moved)
	}
	got, err := os.ReadFile(dst.Name())
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))

	_, err = Splice(dst, src, 1) // neither is a pipe
	require.ErrorIs(t, err, syscall.EINVAL)
}

func TestSpliceEndsWhenItsPipeIsClosed(t *testing.T) {
	pipeGuard(t)
	r, _ := pipeOSFiles(t)
	_, w := pipeOSFiles(t)
	ended := make(chan error)
	go func() {
		_, err := Splice(w, r, 1)
		ended <- err
	}()
	r.Close()
	require.Error(t, <-ended)
}

func TestTeeCopiesAndLeaves(t *testing.T) {
	pipeGuard(t)
	r1, w1 := pipeOSFiles(t)
	r2, w2 := pipeOSFiles(t)
	copied := make(chan error, 1)
	go func() { // waits for something to copy
		n, err := Tee(w2, r1, 100)
		if err == nil && n != 4 {
			err = io.ErrShortWrite
		}
		copied <- err
	}()
	_, err := w1.WriteString("text")
	require.NoError(t, err)
	require.NoError(t, <-copied)
	for _, r := range []*os.File{r1, r2} {
		buf := make([]byte, 10)
		n, err := r.Read(buf)
		require.NoError(t, err)
		require.Equal(t, "text", string(buf[:n]))
	}
	n, err := Tee(w2, r1, 0)
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = Tee(w1, r1, 1) // one pipe
	require.ErrorIs(t, err, syscall.EINVAL)
	require.NoError(t, w1.Close())
	_, err = Tee(w2, r1, 1)
	require.ErrorIs(t, err, io.EOF)
}

func TestVmspliceLendsThePages(t *testing.T) {
	pipeGuard(t)
	mem, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(mem)) }()
	want := pipePattern(len(mem), 3)
	copy(mem, want)
	r, w := pipeOSFiles(t)
	done := make(chan error, 1)
	go func() { // more than the pipe holds
		n, err := Vmsplice(w, mem)
		if err == nil && n != len(mem) {
			err = io.ErrShortWrite
		}
		w.Close()
		done <- err
	}()
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.Equal(t, string(want), string(got))

	// Why no Conn uses it: what is changed before it is read is read changed.
	r, w = pipeOSFiles(t)
	_, err = Vmsplice(w, mem[:4])
	require.NoError(t, err)
	copy(mem, "late")
	_, err = io.ReadFull(r, got[:4])
	require.NoError(t, err)
	require.Equal(t, "late", string(got[:4]))
	require.NoError(t, r.Close())
	_, err = Vmsplice(w, mem[:1])
	require.ErrorIs(t, err, syscall.EPIPE)
}
