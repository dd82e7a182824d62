package fallback

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// keepAlive: a peer whose machine is gone without a word is noticed after two minutes.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 9}

// TCP makes a Conn of a connected TCP socket, tcp(7), which takes over the socket and closes
// c; if there is an error, c stays the caller's.
//
// It sets TCP_NODELAY and keepalive: if nothing is heard of the other machine for two minutes,
// Receive ends with io.EOF and Send with syscall.EPIPE, either of them beside syscall.ETIMEDOUT. What
// was sent shortly before Close may be lost if the other side sends at the same time, as TCP
// resets a connection at which bytes arrive that nobody will read. Whoever must know that
// all has arrived calls CloseSend and receives until io.EOF before Close.
//
// Credentials and descriptors are refused. Nothing is encrypted, nor is the peer authenticated.
func TCP(c *net.TCPConn, opts ...StreamOption) (Conn, error) {
	config, err := streamConfigOf(opts)
	if err != nil {
		return nil, opError(KindTCP, "open", "", err)
	}
	return newTCP(c, config)
}

func newTCP(c *net.TCPConn, config streamConfig) (Conn, error) {
	err := c.SetNoDelay(true)
	if err == nil {
		err = c.SetKeepAliveConfig(keepAlive)
	}
	if err != nil {
		return nil, opError(KindTCP, "open", "", closedError(err))
	}
	s, err := newStream(KindTCP, c, config)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// TCPFromFile is TCP for a socket that was inherited or received. f stays the caller's, who
// may close it.
func TCPFromFile(f *os.File, opts ...StreamOption) (Conn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, opError(KindTCP, "open", "", err)
	}
	t, ok := c.(*net.TCPConn)
	if !ok {
		_ = c.Close()
		return nil, opError(KindTCP, "open", "", fmt.Errorf("it is no TCP socket: %w", syscall.EPROTOTYPE))
	}
	conn, err := TCP(t, opts...)
	if err != nil {
		_ = t.Close()
	}
	return conn, err
}

// DialTCP connects to addr, "host:port" as net.Dial takes it, until ctx ends (nil: as long as
// the kernel tries). Errors: syscall.ECONNREFUSED, syscall.ETIMEDOUT, *net.DNSError, ctx's.
func DialTCP(ctx context.Context, addr string, opts ...StreamOption) (Conn, error) {
	config, err := streamConfigOf(opts)
	if err != nil {
		return nil, opError(KindTCP, "dial", addr, err)
	}
	if ctx == nil {
		ctx = context.Background()
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, opError(KindTCP, "dial", addr, contextError(ctx, err))
	}
	conn, err := newTCP(c.(*net.TCPConn), config)
	if err != nil {
		_ = c.Close()
	}
	return conn, err
}

// ListenTCP listens at addr, "host:port" as net.Listen takes it; port 0 is a free one, which
// Addr tells. "127.0.0.1:0" is for this machine alone, ":0" for everybody.
func ListenTCP(addr string, opts ...StreamOption) (*StreamListener, error) {
	config, err := streamConfigOf(opts)
	if err != nil {
		return nil, opError(KindTCP, "listen", addr, err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, opError(KindTCP, "listen", addr, err)
	}
	t := l.(*net.TCPListener)
	return newStreamListener(KindTCP, t, t.SetDeadline, config, ""), nil
}
