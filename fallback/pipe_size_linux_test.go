package fallback

import (
	"io"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestPipeCapacityIsWhatTheKernelMakesOfIt(t *testing.T) {
	r, w := pipeOSFiles(t)
	page := os.Getpagesize()
	got, err := SetPipeCapacity(w, 3*page)
	require.NoError(t, err)
	require.Equal(t, 4*page, got)
	got, err = PipeCapacity(r)
	require.NoError(t, err)
	require.Equal(t, 4*page, got)

	n, err := PipeQueued(r)
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = w.Write(make([]byte, 2*page+1))
	require.NoError(t, err)
	n, err = PipeQueued(w)
	require.NoError(t, err)
	require.Equal(t, 2*page+1, n)

	_, err = SetPipeCapacity(w, page)
	require.ErrorIs(t, err, syscall.EBUSY)
	require.ErrorContains(t, err, "is in the pipe")

	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer f.Close()
	_, err = SetPipeCapacity(f, page)
	require.ErrorIs(t, err, syscall.EBADF)
	_, err = PipeCapacity(f)
	require.ErrorIs(t, err, syscall.EBADF)
	require.ErrorIs(t, SetPacketMode(f, true), errNoPipe)
}

func TestPipeCapacityOverTheLimitNamesIt(t *testing.T) {
	r, _ := pipeOSFiles(t)
	most, err := PipeMaxSize()
	require.NoError(t, err)
	failed := make(chan error)
	go func() {
		// The thread ends with the goroutine, and its lack of capabilities with it.
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			failed <- err
			return
		}
		_, err := SetPipeCapacity(r, 2*most)
		failed <- err
	}()
	err = <-failed
	require.ErrorIs(t, err, syscall.EPERM)
	require.ErrorContains(t, err, pipeMaxSizeFile)
}

func TestPacketModeKeepsWritesApart(t *testing.T) {
	r, w, err := PacketFiles()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	buf := make([]byte, 2*PipeBuf)
	write := func(s string) {
		_, err := w.WriteString(s)
		require.NoError(t, err)
	}
	read := func(buf []byte) string {
		n, err := r.Read(buf)
		require.NoError(t, err)
		return string(buf[:n])
	}
	write("one")
	write("two")
	require.Equal(t, "one", read(buf))
	require.Equal(t, "two", read(buf))
	write("cut short")
	write("next")
	require.Equal(t, "cut", read(buf[:3])) // the rest of the packet is lost
	require.Equal(t, "next", read(buf))

	require.NoError(t, SetPacketMode(w, false))
	write("one")
	write("two")
	require.Equal(t, "onetwo", read(buf))
}

func TestPacketModeOfAFIFOIsSetNotOpened(t *testing.T) {
	path := fifoPath(t)
	require.NoError(t, MakeFIFO(path, 0o600))
	_, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_DIRECT, 0)
	require.ErrorIs(t, err, syscall.EINVAL)
	r, err := OpenFIFO(forever, path, os.O_RDONLY|unix.O_NONBLOCK)
	require.NoError(t, err)
	w, err := OpenFIFO(forever, path, os.O_WRONLY)
	require.NoError(t, err)
	a, err := PacketConn(r, nil)
	require.NoError(t, err)
	b, err := PacketConn(nil, w)
	require.NoError(t, err)
	pipeCleanup(t, a, b)
	for _, msg := range []string{"one", "", "three"} {
		require.NoError(t, b.Send(forever, []byte(msg)))
	}
	for _, msg := range []string{"one", "", "three"} {
		got, err := a.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, msg, string(got))
	}
}

func TestPacketPipeHasManyReceivers(t *testing.T) {
	pipeGuard(t)
	rf, wf, err := PacketFiles()
	require.NoError(t, err)
	var receivers []Conn
	for range 3 { // each with an open file description of its own, as in other processes
		fd := -1
		require.NoError(t, pipeControl(rf, func(n int) (err error) {
			fd, err = unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
			return err
		}))
		c, err := PacketConn(os.NewFile(uintptr(fd), "r"), nil)
		require.NoError(t, err)
		pipeCleanup(t, c)
		receivers = append(receivers, c)
	}
	require.NoError(t, rf.Close())
	w, err := PacketConn(nil, wf)
	require.NoError(t, err)
	const n = 3000
	got := make(chan []byte, n)
	ends := make(chan error)
	for _, r := range receivers {
		go func() {
			for {
				msg, err := r.Receive(forever, nil)
				if err != nil {
					ends <- err
					return
				}
				got <- msg
			}
		}()
	}
	for i := range n {
		require.NoError(t, w.Send(forever, pipePattern(i%PipePacketMax, byte(i))))
	}
	require.NoError(t, w.CloseSend())
	for range receivers {
		require.ErrorIs(t, <-ends, io.EOF)
	}
	require.Len(t, got, n)
	sizes := make([]bool, n)
	for range n {
		msg := <-got
		require.Equal(t, string(pipePattern(len(msg), byte(len(msg)))), string(msg))
		require.False(t, sizes[len(msg)])
		sizes[len(msg)] = true
	}
}
