package fallback

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// rightsPair is a socketpair of the type unix.SOCK_…, as net.UnixConns.
func rightsPair(t testing.TB, typ int) (a, b *net.UnixConn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1]
}

func rightsFiles(t testing.TB, n int) []*os.File {
	files := make([]*os.File, n)
	for i := range files {
		fd, err := unix.MemfdCreate("rights", unix.MFD_CLOEXEC)
		require.NoError(t, err)
		files[i] = os.NewFile(uintptr(fd), "memfd")
		t.Cleanup(func() { files[i].Close() })
	}
	return files
}

// rightsOpenMemfds counts this process's open memfds of rightsFiles.
func rightsOpenMemfds(t testing.TB) (n int) {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(to, "/memfd:rights") {
			n++
		}
	}
	return n
}

var rightsTypes = map[string]int{
	"stream": unix.SOCK_STREAM, "datagram": unix.SOCK_DGRAM, "seqpacket": unix.SOCK_SEQPACKET,
}

func TestRightsArriveAsTheSameOpenFilesCloseOnExec(t *testing.T) {
	for name, typ := range rightsTypes {
		for _, n := range []int{0, 1, 2, MaxRights} {
			t.Run(name, func(t *testing.T) {
				a, b := rightsPair(t, typ)
				sent := rightsFiles(t, n)
				require.NoError(t, SendRights(a, []byte("with files"), sent...))
				buf := make([]byte, 100)
				got, files, err := ReceiveRights(b, buf, MaxRights)
				require.NoError(t, err)
				assert.Equal(t, "with files", string(buf[:got]))
				require.Len(t, files, n)
				for i, f := range files {
					want, err := sent[i].Stat()
					require.NoError(t, err)
					have, err := f.Stat()
					require.NoError(t, err)
					assert.True(t, os.SameFile(want, have))
					flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
					require.NoError(t, err)
					assert.Equal(t, unix.FD_CLOEXEC, flags)
					f.Close()
				}
			})
		}
	}
}

func TestRightsRefuseTooManyAndNoByte(t *testing.T) {
	a, b := rightsPair(t, unix.SOCK_SEQPACKET)
	one := rightsFiles(t, 1)[0]
	many := make([]*os.File, MaxRights+1)
	for i := range many {
		many[i] = one
	}
	require.ErrorIs(t, SendRights(a, []byte{1}, many...), ErrTooLarge)
	require.ErrorIs(t, SendRights(a, nil, one), unix.EINVAL)
	closed := rightsFiles(t, 1)[0]
	closed.Close()
	require.ErrorIs(t, SendRights(a, []byte{1}, one, closed), os.ErrClosed)
	a.Close()
	_, _, err := ReceiveRights(b, make([]byte, 10), 1)
	require.ErrorIs(t, err, io.EOF, "nothing of it was sent")
	_, _, err = ReceiveRights(b, nil, 1)
	require.ErrorIs(t, err, unix.EINVAL)
}

func TestRightsThatAreNotWantedAreClosed(t *testing.T) {
	for name, typ := range rightsTypes {
		t.Run(name, func(t *testing.T) {
			a, b := rightsPair(t, typ)
			sent := rightsFiles(t, 20)
			before := rightsOpenMemfds(t)
			require.NoError(t, SendRights(a, []byte("x"), sent...))
			n, files, err := ReceiveRights(b, make([]byte, 10), 19)
			require.ErrorIs(t, err, ErrFrame)
			assert.Zero(t, n)
			assert.Nil(t, files)
			assert.Equal(t, before, rightsOpenMemfds(t))
			// A message that does not fit: on a stream the rest comes later.
			require.NoError(t, SendRights(a, []byte("long"), sent...))
			n, files, err = ReceiveRights(b, make([]byte, 3), 20)
			if typ == unix.SOCK_STREAM {
				require.NoError(t, err)
				assert.Equal(t, 3, n)
				assert.Len(t, files, 20)
				for _, f := range files {
					f.Close()
				}
				return
			}
			require.ErrorIs(t, err, ErrFrame)
			assert.Nil(t, files)
			assert.Equal(t, before, rightsOpenMemfds(t))
		})
	}
}

func TestRightsBesideOtherControlMessages(t *testing.T) {
	a, b := rightsPair(t, unix.SOCK_SEQPACKET)
	err := controlSocket(b, func(fd int) error {
		// (Not every kernel knows every one.)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSSEC, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	require.NoError(t, err)
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	sent := rightsFiles(t, MaxRights)
	for range 3 {
		require.NoError(t, SendRights(a, []byte("x"), sent...))
		_, files, err := ReceiveRights(b, make([]byte, 10), MaxRights)
		require.NoError(t, err)
		require.Len(t, files, MaxRights)
		for _, f := range files {
			f.Close()
		}
	}
	for _, f := range sent {
		f.Close()
	}
	after, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	assert.Len(t, after, len(entries))
}

// What runs out of descriptors is a process of its own.
func init() {
	roles["rights: few descriptors"] = func() {
		f := os.NewFile(3, "socket")
		c, err := net.FileConn(f)
		if err != nil {
			panic(err)
		}
		f.Close()
		limit := unix.Rlimit{Cur: 32, Max: 32}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			panic(err)
		}
		count := func() int {
			n := 0
			for fd := range 40 {
				if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
					n++
				}
			}
			return n
		}
		before := count()
		_, files, err := ReceiveRights(c.(*net.UnixConn), make([]byte, 10), MaxRights)
		if !errors.Is(err, ErrFilesLost) || files != nil || count() != before {
			panic(errors.Join(err, errors.New("not as it should be")))
		}
	}
}

func TestRightsThatFindNoFreeDescriptorAreAnErrorAndClosed(t *testing.T) {
	a, b := rightsPair(t, unix.SOCK_SEQPACKET)
	require.NoError(t, SendRights(a, []byte("x"), rightsFiles(t, 100)...))
	file, err := b.File()
	require.NoError(t, err)
	defer file.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=rights: few descriptors")
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestPeerCredentials(t *testing.T) {
	for name, typ := range rightsTypes {
		t.Run(name, func(t *testing.T) {
			a, _ := rightsPair(t, typ)
			cred, err := PeerCredentials(a)
			require.NoError(t, err)
			assert.Equal(t, Credentials{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid()}, cred)
			a.Close()
			_, err = PeerCredentials(a)
			require.ErrorIs(t, err, os.ErrClosed)
			_, err = PeerPidfd(a)
			require.ErrorIs(t, err, os.ErrClosed)
		})
	}
	t.Run("where there are none", func(t *testing.T) {
		lonely, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})
		require.NoError(t, err)
		defer lonely.Close()
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		defer udp.Close()
		null, err := os.Open(os.DevNull)
		require.NoError(t, err)
		defer null.Close()
		for _, c := range []syscall.Conn{lonely, udp, null} {
			_, err = PeerCredentials(c)
			require.ErrorIs(t, err, errors.ErrUnsupported, "%T", c)
			_, err = PeerPidfd(c)
			require.ErrorIs(t, err, errors.ErrUnsupported, "%T", c)
		}
	})
}

func init() {
	roles["rights: connect"] = func() {
		c, err := net.Dial("unixpacket", os.Getenv("RIGHTS_ADDRESS"))
		if err != nil {
			panic(err)
		}
		_, _ = c.Read(make([]byte, 1)) // until told to go
	}
}

func TestPeerPidfdTellsOfThePeersEnd(t *testing.T) {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket"})
	require.NoError(t, err)
	defer l.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=rights: connect", "RIGHTS_ADDRESS="+l.Addr().String())
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	c, err := l.AcceptUnix()
	require.NoError(t, err)
	defer c.Close()
	cred, err := PeerCredentials(c)
	require.NoError(t, err)
	assert.Equal(t, cmd.Process.Pid, cred.PID)

	for name, get := range map[string]func(syscall.Conn) (*os.File, error){
		"SO_PEERPIDFD": PeerPidfd, "pidfd_open": peerPidfdByNumber,
	} {
		f, err := get(c)
		require.NoError(t, err, name)
		defer f.Close()
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		require.NoError(t, err)
		assert.Equal(t, unix.FD_CLOEXEC, flags, name)
		poll := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		require.NoError(t, err)
		assert.Zero(t, n, name)
		defer func() {
			n, err := unix.Poll(poll, 0)
			require.NoError(t, err)
			assert.Equal(t, 1, n, "%s: the end is not told", name)
			runtime.KeepAlive(f)
		}()
	}
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	again, err := PeerCredentials(c)
	require.NoError(t, err)
	assert.Equal(t, cred, again)
	if f, err := PeerPidfd(c); err == nil {
		f.Close() // Linux 6.16 and later
	} else {
		require.ErrorIs(t, err, unix.ESRCH)
	}
	_, err = peerPidfdByNumber(c)
	require.ErrorIs(t, err, unix.ESRCH)
}
