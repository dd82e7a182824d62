package fallback

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// streamTestSend sends bytes with n descriptors of f, as somebody else might.
func streamTestSend(t *testing.T, socket, f *os.File, n int, b []byte) {
	t.Helper()
	fds := make([]int, n)
	for i := range fds {
		fds[i] = int(f.Fd())
	}
	var rights []byte
	if n > 0 {
		rights = unix.UnixRights(fds...)
	}
	require.NoError(t, unix.Sendmsg(int(socket.Fd()), b, rights, nil, 0))
}

// streamTestMemfd makes a file that streamTestOpen counts by its unique name.
func streamTestMemfd(t *testing.T) (f *os.File, open func() int) {
	t.Helper()
	name := fmt.Sprintf("stream-%d-%p", os.Getpid(), t)
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	require.NoError(t, err)
	f = os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	return f, func() (n int) {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		for _, e := range entries {
			if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); to == "/memfd:"+name+" (deleted)" {
				n++
			}
		}
		return n
	}
}

func TestStreamHostileBytesAreErrFrameAndStayIt(t *testing.T) {
	badCheck := streamTestFrame([]byte("x"), 0, frameCommit)
	badCheck[3] ^= 1
	for name, b := range map[string][]byte{
		"one byte that begins no frame": []byte("x"),
		"zeros":                         make([]byte, 100),
		"text":                          []byte("GET / HTTP/1.1\r\n\r\n"),
		"a wrong check":                 badCheck,
		"too long":                      streamTestFrame(make([]byte, 1001), 0, frameCommit)[:frameHeader],
		"a wrong trailer":               streamTestFrame([]byte("x"), 0, 0),
		"descriptors that did not come": streamTestFrame([]byte("x"), 3, frameCommit),
	} {
		t.Run(name, func(t *testing.T) {
			c, other := streamTestEnd(t, StreamMaxMessage(1000))
			_, err := other.Write(b)
			require.NoError(t, err)
			for range 2 {
				_, err = c.Receive(streamNever, nil)
				require.ErrorIs(t, err, ErrFrame)
				_, err = c.TryReceive(nil)
				require.ErrorIs(t, err, ErrFrame)
				_, _, err = ReceiveFiles(streamNever, c, nil)
				require.ErrorIs(t, err, ErrFrame)
			}
			require.NoError(t, c.Send(streamNever, []byte("the way back is sound")))
		})
	}
}

func TestStreamHostileDescriptorsAreClosed(t *testing.T) {
	frame := func(files int) []byte { return streamTestFrame([]byte("hello"), files, frameCommit) }
	type part struct {
		files int
		bytes []byte
	}
	for name, parts := range map[string][]part{
		"that no frame announces":                {{2, frame(0)}, {0, frame(0)}},
		"more than were announced":               {{3, frame(2)}},
		"fewer than were announced":              {{1, frame(2)}},
		"in mid-frame":                           {{0, frame(0)[:9]}, {2, frame(0)[9:]}, {0, frame(0)}},
		"twice for one frame":                    {{2, frame(2)[:3]}, {2, frame(2)[3:]}, {0, frame(0)}},
		"with junk":                              {{5, []byte("junk")}},
		"with the first byte of a frame, no end": {{4, frame(4)[:10]}},
	} {
		t.Run(name, func(t *testing.T) {
			f, open := streamTestMemfd(t)
			c, other := streamTestEnd(t)
			for _, p := range parts {
				streamTestSend(t, other, f, p.files, p.bytes)
			}
			other.Close()
			for {
				_, files, err := ReceiveFiles(streamNever, c, nil)
				for _, f := range files {
					f.Close()
				}
				if err != nil {
					require.True(t, errors.Is(err, ErrFrame) || errors.Is(err, io.EOF), "%v", err)
					break
				}
			}
			require.Equal(t, 1, open())
		})
	}
}

func TestStreamDescriptorsOfAbortedFramesAreClosed(t *testing.T) {
	f, open := streamTestMemfd(t)
	c, other := streamTestEnd(t)
	streamTestSend(t, other, f, 2, streamTestFrame([]byte("no"), 2, frameAbort))
	streamTestSend(t, other, f, 1, streamTestFrame([]byte("yes"), 1, frameCommit))
	msg, files, err := ReceiveFiles(streamNever, c, nil)
	require.NoError(t, err)
	require.Equal(t, "yes", string(msg))
	require.Len(t, files, 1)
	require.Equal(t, 2, open())
	files[0].Close()

	streamTestSend(t, other, f, 3, streamTestFrame([]byte("not received"), 3, frameCommit)[:10])
	_, err = c.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock)
	require.Equal(t, 4, open(), "they wait for their frame")
	require.NoError(t, c.Close())
	require.Equal(t, 1, open())
}

func init() {
	roles["stream: half a frame"] = func() {
		f := os.NewFile(3, "socket")
		frame := streamTestFrame(make([]byte, 100_000), 0, frameCommit)
		_, _ = f.Write(append(streamTestFrame([]byte("whole"), 0, frameCommit), frame[:50_000]...))
		_, _ = f.Read(make([]byte, 1)) // until it is killed
	}
}

func TestStreamPeerKilledInMidFrameHasNotSentIt(t *testing.T) {
	c, other := streamTestEnd(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=stream: half a frame")
	cmd.ExtraFiles = []*os.File{other}
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	require.NoError(t, other.Close())
	msg, err := c.Receive(streamNever, nil)
	require.NoError(t, err)
	require.Equal(t, "whole", string(msg))
	done := make(chan error)
	go func() {
		msg, err := c.Receive(streamNever, []byte("mine"))
		if string(msg) != "mine" {
			err = fmt.Errorf("%d bytes came, %w", len(msg), err)
		}
		done <- err
	}()
	for s := c.(*streamConn); !s.in.waits.Load(); {
		_, err := c.TryReceive(nil)
		require.ErrorIs(t, err, ErrWouldBlock)
	}
	require.NoError(t, cmd.Process.Kill())
	require.Equal(t, io.EOF, <-done)
}
