package fallback

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// socketPeer is the C program, compiled for this test.
type socketPeer struct {
	t       testing.TB
	program string
}

func newSocketPeer(t testing.TB) socketPeer {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler (gcc): nothing to meet at the other end")
	}
	program := filepath.Join(t.TempDir(), "socketpeer")
	out, err := exec.Command(cc, "-O2", "-Wall", "-Werror", "-o", program, "testdata/socketpeer.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return socketPeer{t, program}
}

// start runs it; finish, which is to be called, waits for it to end well. The files, which
// it has from 3 on, are closed here.
func (p socketPeer) start(files []*os.File, args ...string) (line func() string, finish func()) {
	cmd := exec.Command(p.program, args...)
	cmd.ExtraFiles, cmd.Stderr = files, os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, cmd.Start())
	p.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	closeFiles(files)
	out := bufio.NewReader(stdout)
	line = func() string {
		s, _ := out.ReadString('\n')
		return strings.TrimSuffix(s, "\n")
	}
	return line, func() {
		rest, _ := io.ReadAll(out)
		require.NoError(p.t, cmd.Wait(), "%s", rest)
	}
}

// socketPeerPairs give one end to the C program, as its descriptor 3.
func socketPeerPairs(t testing.TB) map[string]func() (Conn, *os.File) {
	return map[string]func() (Conn, *os.File){
		"echo, datagram": func() (Conn, *os.File) {
			a, b, err := UnixDatagramPair()
			require.NoError(t, err)
			return a, packetGive(t, b.File, b)[0]
		},
		"echo, seqpacket": func() (Conn, *os.File) {
			a, b, err := UnixSeqpacketPair()
			require.NoError(t, err)
			return a, packetGive(t, b.File, b)[0]
		},
		"frames": func() (Conn, *os.File) {
			a, b, err := UnixStreamPair()
			require.NoError(t, err)
			f, err := StreamFile(b)
			require.NoError(t, err)
			require.NoError(t, b.Close())
			return a, f
		},
	}
}

func TestSocketsEchoedByAProgramInC(t *testing.T) {
	peer := newSocketPeer(t)
	for name, pair := range socketPeerPairs(t) {
		t.Run(name, func(t *testing.T) {
			a, f := pair()
			defer a.Close()
			command, _, _ := strings.Cut(name, ",")
			sizes := []int{1, 24, 100, 4095, 4096, 4097, 65536, 100_000}
			_, finish := peer.start([]*os.File{f}, command, "3", strconv.Itoa(len(sizes)+1))
			for _, size := range sizes {
				msg := packetPattern(size)
				require.NoError(t, a.Send(forever, msg))
				got, err := a.Receive(forever, nil)
				require.NoError(t, err)
				require.True(t, bytes.Equal(msg, got), "%d bytes", size)
			}
			// A descriptor to C, and back from C.
			r, w, err := os.Pipe()
			require.NoError(t, err)
			defer r.Close()
			defer w.Close()
			require.NoError(t, SendFiles(forever, a, []byte("take these"), w, r))
			got, files, err := ReceiveFiles(forever, a, nil)
			require.NoError(t, err)
			defer closeFiles(files)
			require.Equal(t, "take these", string(got))
			require.Len(t, files, 2)
			_, err = files[0].WriteString("through C")
			require.NoError(t, err)
			require.NoError(t, files[0].Close())
			require.NoError(t, w.Close())
			text, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, "through C", string(text), "and nobody has the pipe's end any more")
			finish()
		})
	}
}

func TestSocketsAProgramInCGivesADescriptor(t *testing.T) {
	peer := newSocketPeer(t)
	for name, pair := range socketPeerPairs(t) {
		if name == "frames" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			a, f := pair()
			defer a.Close()
			_, finish := peer.start([]*os.File{f}, "give", "3", "words in C's pipe")
			msg, files, err := ReceiveFiles(forever, a, nil)
			require.NoError(t, err)
			require.Equal(t, "pipe", string(msg))
			require.Len(t, files, 1)
			defer closeFiles(files)
			text, err := io.ReadAll(files[0])
			require.NoError(t, err)
			require.Equal(t, "words in C's pipe", string(text))
			finish()
		})
	}
}

func TestSocketsAProgramInCServes(t *testing.T) {
	peer := newSocketPeer(t)
	for _, kind := range []string{"dgram", "seqpacket"} {
		for _, path := range []string{filepath.Join(packetDir(t), "s"), packetAbstract()} {
			t.Run(kind+" "+path[:1], func(t *testing.T) {
				line, finish := peer.start(nil, "serve", kind, path, "3")
				require.Equal(t, "ready", line())
				var c Conn
				var err error
				if kind == "dgram" {
					c, err = DialUnixDatagram("@", path)
				} else {
					c, err = DialUnixSeqpacket(forever, path)
				}
				require.NoError(t, err)
				defer c.Close()
				for _, text := range []string{"one", "two words", strings.Repeat("x", 70_000)} {
					require.NoError(t, c.Send(forever, []byte(text)))
					require.Equal(t, text, line())
					answer, err := c.Receive(forever, nil)
					require.NoError(t, err)
					require.Equal(t, fmt.Sprintf("%d bytes", len(text)), string(answer))
				}
				finish()
			})
		}
	}
}

func TestSocketsAProgramInCAsks(t *testing.T) {
	peer := newSocketPeer(t)
	t.Run("dgram", func(t *testing.T) {
		server, err := ListenUnixDatagram(packetAbstract())
		require.NoError(t, err)
		defer server.Close()
		line, finish := peer.start(nil, "ask", "dgram", server.name, "one", "two")
		for _, want := range []string{"one", "two"} {
			msg, from, err := server.ReceiveFrom(forever, nil)
			require.NoError(t, err)
			require.Equal(t, want, string(msg))
			require.NoError(t, server.SendTo(forever, append(msg, '!'), from))
			require.Equal(t, want+"!", line())
		}
		finish()
	})
	t.Run("seqpacket", func(t *testing.T) {
		l, err := ListenUnixSeqpacket(packetAbstract(), PacketCredentials())
		require.NoError(t, err)
		defer l.Close()
		line, finish := peer.start(nil, "ask", "seqpacket", l.Path(), "one", "two")
		c, err := l.Accept(forever)
		require.NoError(t, err)
		defer c.Close()
		cred, err := c.Peer()
		require.NoError(t, err)
		for _, want := range []string{"one", "two"} {
			msg, who, err := ReceiveCredentials(forever, c, nil)
			require.NoError(t, err)
			require.Equal(t, want, string(msg))
			if want == "two" { // the first may have been sent before there was anybody who asked
				require.Equal(t, cred, who)
			}
			require.NoError(t, c.Send(forever, append(msg, '!')))
			require.Equal(t, want+"!", line())
		}
		finish()
		_, err = c.Receive(forever, nil)
		require.ErrorIs(t, err, io.EOF)
	})
	t.Run("udp", func(t *testing.T) {
		server, err := UDP("127.0.0.1:0", "")
		require.NoError(t, err)
		defer server.Close()
		line, finish := peer.start(nil, "udp", strconv.Itoa(int(server.LocalAddr().Port())), "one", "two", "three")
		for _, want := range []string{"one", "two", "three"} {
			msg, from, err := server.ReceiveFrom(forever, nil)
			require.NoError(t, err)
			require.Equal(t, want, string(msg))
			require.NoError(t, server.SendTo(forever, append(msg, '!'), from))
			require.Equal(t, want+"!", line())
		}
		finish()
		_, err = server.TryReceive(nil)
		require.ErrorIs(t, err, ErrWouldBlock)
		stats := server.Stats()
		require.EqualValues(t, 3, stats.Doubled, "C sends each twice")
		require.EqualValues(t, 3, stats.Received)
	})
}

// Many unread messages: the sender in C is blocked in send(2) until there is room.
func TestSocketsAProgramInCFloods(t *testing.T) {
	peer := newSocketPeer(t)
	for name, pair := range socketPeerPairs(t) {
		if name == "frames" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			a, f := pair()
			defer a.Close()
			_, finish := peer.start([]*os.File{f}, "flood", "3", "500", "10000")
			for range 500 {
				msg, err := a.Receive(forever, nil)
				require.NoError(t, err)
				require.Len(t, msg, 10000)
			}
			finish()
		})
	}
}
