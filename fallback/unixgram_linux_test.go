package fallback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDatagramReceiverHearsManyAndAnswers(t *testing.T) {
	dir := packetDir(t)
	for _, local := range []string{"@", packetAbstract(), filepath.Join(dir, "client")} {
		path := filepath.Join(dir, "server")
		server, err := ListenUnixDatagram(path)
		require.NoError(t, err)
		c, err := DialUnixDatagram(local, path)
		require.NoError(t, err)
		mute, err := DialUnixDatagram("", path)
		require.NoError(t, err)
		require.NoError(t, mute.Send(forever, []byte("from nobody")))
		msg, from, err := server.ReceiveFrom(forever, nil)
		require.NoError(t, err)
		assert.Equal(t, "from nobody", string(msg))
		assert.Empty(t, from)

		require.NoError(t, c.Send(forever, []byte("question")))
		msg, from, err = server.ReceiveFrom(forever, nil)
		require.NoError(t, err)
		assert.Equal(t, "question", string(msg))
		if local == "@" {
			assert.True(t, strings.HasPrefix(from, "@") && len(from) > 1, from)
		} else {
			assert.Equal(t, local, from)
		}
		require.NoError(t, server.SendTo(forever, []byte("answer"), from))
		msg, err = c.Receive(forever, nil)
		require.NoError(t, err)
		assert.Equal(t, "answer", string(msg))

		// Only the server may answer.
		stranger, err := ListenUnixDatagram(packetAbstract())
		require.NoError(t, err)
		require.ErrorIs(t, stranger.SendTo(forever, nil, from), syscall.EPERM)
		require.ErrorIs(t, server.SendTo(forever, nil, packetAbstract()), syscall.EPIPE)
		require.ErrorIs(t, server.SendTo(forever, nil, ""), syscall.EINVAL)
		for _, e := range []*DatagramConn{server, c, mute, stranger} {
			require.NoError(t, e.Close())
		}
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left, "names go with Close")
}

func TestDatagramSendersWaitForAFullQueue(t *testing.T) {
	server, err := ListenUnixDatagram(packetAbstract())
	require.NoError(t, err)
	defer server.Close()
	const senders, each = 5, 60 // far more than /proc/sys/net/unix/max_dgram_qlen
	var wg sync.WaitGroup
	errs := make([]error, senders)
	for i := range senders {
		wg.Go(func() {
			c, err := DialUnixDatagram("", server.name)
			for n := 0; n < each && err == nil; n++ {
				err = c.Send(forever, fmt.Appendf(nil, "%d %d", i, n))
			}
			errs[i] = err
			if c != nil {
				c.Close()
			}
		})
	}
	next := [senders]int{}
	for range senders * each {
		msg, err := server.Receive(forever, nil)
		require.NoError(t, err)
		var i, n int
		_, err = fmt.Sscanf(string(msg), "%d %d", &i, &n)
		require.NoError(t, err)
		require.Equal(t, next[i], n)
		next[i]++
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// Of a queue that the sender is not connected to, the poller does not tell.
func TestDatagramAnswersWaitForAFullQueueOfAStranger(t *testing.T) {
	server, err := ListenUnixDatagram(packetAbstract())
	require.NoError(t, err)
	defer server.Close()
	stranger, err := ListenUnixDatagram(packetAbstract())
	require.NoError(t, err)
	defer stranger.Close()
	full := 0
	for ; full < 100_000; full++ {
		to, err := unixAddress(stranger.name)
		require.NoError(t, err)
		if err = server.send(forever, []byte{byte(full)}, nil, &to, true); err != nil {
			require.ErrorIs(t, err, ErrWouldBlock)
			break
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.SendTo(ctx, []byte("never"), stranger.name) }()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	go func() { done <- server.SendTo(forever, []byte("at last"), stranger.name) }()
	for range full {
		_, err := stranger.Receive(forever, nil)
		require.NoError(t, err)
	}
	require.NoError(t, <-done)
	msg, err := stranger.Receive(forever, nil)
	require.NoError(t, err)
	assert.Equal(t, "at last", string(msg))
}

func TestDatagramsToTheDeadAreEPIPE(t *testing.T) {
	pair, other, err := UnixDatagramPair()
	packetPair(t, pair, other, err)
	server, err := ListenUnixDatagram(packetAbstract())
	require.NoError(t, err)
	c, err := DialUnixDatagram("@", server.name)
	require.NoError(t, err)
	defer c.Close()
	// Blocked ones too.
	require.NoError(t, packetFill(pair))
	require.NoError(t, packetFill(c))
	blocked := make(chan error, 2)
	for _, e := range []Conn{pair, c} {
		go func() { blocked <- e.Send(forever, make([]byte, 1000)) }()
	}
	other.Close()
	server.Close()
	for range 2 {
		require.ErrorIs(t, <-blocked, syscall.EPIPE)
	}
	for range 3 {
		for _, e := range []Conn{pair, c} {
			require.ErrorIs(t, e.Send(forever, []byte("x")), syscall.EPIPE)
			require.ErrorIs(t, e.TrySend([]byte("x")), syscall.EPIPE)
		}
	}
	_, err = DialUnixDatagram("", server.name)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// packetFill sends until there is no room.
func packetFill(c Conn) error {
	for {
		switch err := c.TrySend(make([]byte, 1000)); err {
		case nil:
		case ErrWouldBlock:
			return nil
		default:
			return err
		}
	}
}

func TestDatagramReplacesAStaleSocketOnly(t *testing.T) {
	path := filepath.Join(packetDir(t), "s")
	fd, err := bindUnix(unix.SOCK_DGRAM, path)
	require.NoError(t, err)
	_, err = ListenUnixDatagram(path)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	unix.Close(fd) // as a killed process leaves it
	c, err := ListenUnixDatagram(path, PacketPerm(0o622))
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o622), info.Mode().Perm())
	require.NoError(t, c.Close())
	require.NoFileExists(t, path)
	require.ErrorIs(t, c.Close(), os.ErrClosed)
}

func init() {
	roles["datagram: wait"] = func() {
		c, err := packetRemake(func(c net.Conn) (Conn, error) { return UnixDatagram(c.(*net.UnixConn)) })
		if err == nil {
			err = c.Send(forever, []byte("ready"))
		}
		if err != nil {
			panic(err)
		}
		select {}
	}
	roles["datagram: listen"] = func() {
		path := os.Getenv("DATAGRAM_PATH")
		server, err := ListenUnixDatagram(path)
		if err != nil {
			panic(err)
		}
		_, from, err := server.ReceiveFrom(forever, nil)
		if err == nil {
			err = server.SendTo(forever, []byte("ready"), from)
		}
		if err != nil {
			panic(err)
		}
		select {}
	}
}

func datagramChild(t *testing.T, role string, files []*os.File, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "SHMCHAN_ROLE="+role), env...)
	cmd.ExtraFiles, cmd.Stderr = files, os.Stderr
	require.NoError(t, cmd.Start())
	for _, f := range files {
		f.Close()
	}
	return cmd
}

func TestDatagramPeerThatIsKilledIsEPIPEAndItsNameCanBeTaken(t *testing.T) {
	a, b, err := UnixDatagramPair()
	require.NoError(t, err)
	defer a.Close()
	child := datagramChild(t, "datagram: wait", packetGive(t, b.File, b))
	msg, err := a.Receive(forever, nil)
	require.NoError(t, err)
	assert.Equal(t, "ready", string(msg))
	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	require.ErrorIs(t, a.Send(forever, []byte("x")), syscall.EPIPE)
	_, err = a.TryReceive(nil)
	require.ErrorIs(t, err, ErrWouldBlock, "there is no end of file")

	path := filepath.Join(packetDir(t), "s")
	child = datagramChild(t, "datagram: listen", nil, "DATAGRAM_PATH="+path)
	var c *DatagramConn
	for c == nil { // until it listens
		if c, err = DialUnixDatagram("@", path); err != nil {
			require.True(t, errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED), "%v", err)
			time.Sleep(time.Millisecond)
		}
	}
	defer c.Close()
	require.NoError(t, c.Send(forever, []byte("hello")))
	_, err = c.Receive(forever, nil)
	require.NoError(t, err)
	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	require.ErrorIs(t, c.Send(forever, []byte("x")), syscall.EPIPE)
	_, err = DialUnixDatagram("", path)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	again, err := ListenUnixDatagram(path)
	require.NoError(t, err, "the dead one's name is stale")
	require.NoError(t, again.Close())
}
