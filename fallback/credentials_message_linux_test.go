package fallback

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func me() Credentials { return Credentials{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid()} }

func TestCredentialsComeWithEachMessage(t *testing.T) {
	for name, pair := range map[string]func() (a, b Conn, err error){
		"datagram pair":  func() (a, b Conn, err error) { return UnixDatagramPair(PacketCredentials()) },
		"seqpacket pair": func() (a, b Conn, err error) { return UnixSeqpacketPair(PacketCredentials()) },
		"datagram receiver": func() (a, b Conn, err error) {
			to, err := ListenUnixDatagram(packetAbstract(), PacketCredentials())
			require.NoError(t, err)
			from, err := DialUnixDatagram("", to.name)
			return from, to, err
		},
		"dialled": func() (a, b Conn, err error) {
			l, err := ListenUnixSeqpacket(packetAbstract(), PacketCredentials())
			require.NoError(t, err)
			defer l.Close()
			from, err := DialUnixSeqpacket(forever, l.Path())
			require.NoError(t, err)
			to, err := l.Accept(forever)
			return from, to, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, err := pair()
			packetPair(t, a, b, err)
			for _, s := range []string{"", "x", string(packetPattern(60000))} {
				require.NoError(t, a.Send(forever, []byte(s)))
				got, who, err := ReceiveCredentials(forever, b, []byte("pre"))
				require.NoError(t, err)
				require.Equal(t, "pre"+s, string(got))
				require.Equal(t, me(), who)
			}
			require.NoError(t, SendCredentials(forever, a, []byte("stated"), me()))
			_, who, err := ReceiveCredentials(forever, b, nil)
			require.NoError(t, err)
			require.Equal(t, me(), who)

			// With descriptors, and without asking.
			require.NoError(t, SendFiles(forever, a, []byte("file"), os.Stdin))
			got, who, err := ReceiveCredentials(forever, b, nil)
			require.NoError(t, err)
			require.Equal(t, me(), who)
			require.Equal(t, "file", string(got))
			require.NoError(t, SendFiles(forever, a, []byte("file"), os.Stdin))
			_, files, err := ReceiveFiles(forever, b, nil)
			require.NoError(t, err)
			require.Len(t, files, 1)
			closeFiles(files)
			require.NoError(t, a.Send(forever, []byte("plain")))
			got, err = b.Receive(forever, nil)
			require.NoError(t, err)
			require.Equal(t, "plain", string(got))
		})
	}
}

func TestFalseCredentialsAreRefusedByTheKernel(t *testing.T) {
	a, b, err := UnixDatagramPair(PacketCredentials())
	packetPair(t, a, b, err)
	// A PID that is nobody's: beyond pid_max's limit.
	err = SendCredentials(forever, a, nil, Credentials{PID: 1 << 30, UID: os.Getuid(), GID: os.Getgid()})
	require.True(t, errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.EPERM), "%v", err)
	for _, who := range []Credentials{{PID: os.Getpid(), UID: -1}, {PID: os.Getpid(), GID: -1}} {
		require.ErrorIs(t, SendCredentials(forever, a, nil, who), syscall.EINVAL)
	}
	_, err = b.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock, "nothing of it was sent")
	stranger := Credentials{PID: os.Getpid(), UID: 4321, GID: os.Getgid()}
	switch err := SendCredentials(forever, a, nil, stranger); {
	case err == nil: // this process may
		_, who, err := ReceiveCredentials(forever, b, nil)
		require.NoError(t, err)
		require.Equal(t, stranger, who)
	default:
		require.ErrorIs(t, err, syscall.EPERM)
	}
}

func TestMessageFromBeforeHasNoCredentials(t *testing.T) {
	x, y := rightsPair(t, unix.SOCK_DGRAM)
	_, err := x.Write([]byte("early"))
	require.NoError(t, err)
	b, err := UnixDatagram(y, PacketCredentials())
	require.NoError(t, err)
	defer b.Close()
	_, err = x.Write([]byte("later"))
	require.NoError(t, err)
	for _, want := range []struct {
		text string
		who  Credentials
	}{{"early", Credentials{UID: -1, GID: -1}}, {"later", me()}} {
		msg, who, err := ReceiveCredentials(forever, b, nil)
		require.NoError(t, err)
		assert.Equal(t, want.text, string(msg))
		assert.Equal(t, want.who, who)
	}
}

func TestCredentialsAreRefusedByName(t *testing.T) {
	plain, other, err := UnixDatagramPair()
	packetPair(t, plain, other, err)
	u, v := udpPair(t)
	s, o, err := UnixStreamPair()
	packetPair(t, s, o, err)
	for _, c := range []Conn{plain, u, s} {
		_, _, err := ReceiveCredentials(forever, c, nil)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, c.Kind().String()+": credentials with a message")
	}
	for _, c := range []Conn{v, s} {
		require.ErrorIs(t, SendCredentials(forever, c, nil, me()), errors.ErrUnsupported)
	}
}

func init() {
	roles["credentials: send"] = func() {
		c, err := DialUnixDatagram("", os.Getenv("DATAGRAM_PATH"))
		if err == nil {
			err = c.Send(forever, []byte("from a child"))
		}
		if err != nil {
			panic(err)
		}
	}
}

// A message says who sent it even if they are gone.
func TestCredentialsAreOfTheSenderNotOfWhoeverIsThereNow(t *testing.T) {
	server, err := ListenUnixDatagram(packetAbstract(), PacketCredentials())
	require.NoError(t, err)
	defer server.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=credentials: send", "DATAGRAM_PATH="+server.name)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Run())
	msg, who, err := ReceiveCredentials(forever, server, nil)
	require.NoError(t, err)
	assert.Equal(t, "from a child", string(msg))
	assert.Equal(t, Credentials{PID: cmd.Process.Pid, UID: os.Getuid(), GID: os.Getgid()}, who)
}

func TestUnsoundControlDataHasNoCredentials(t *testing.T) {
	whole := unix.UnixCredentials(&unix.Ucred{Pid: 7, Uid: 8, Gid: 9})
	unknown := Credentials{UID: -1, GID: -1}
	require.Equal(t, Credentials{7, 8, 9}, credentialsIn(whole))
	for n := range unix.CmsgLen(unix.SizeofUcred) {
		require.Equal(t, unknown, credentialsIn(whole[:n]), "cut to %d", n)
	}
}
