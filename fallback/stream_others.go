//go:build !linux

package fallback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

var errStreamLinuxOnly = fmt.Errorf("stream sockets as Conn: Linux only: %w", errors.ErrUnsupported)

// A StreamListener is for Linux only.
type StreamListener struct{}

// Addr is empty here.
func (*StreamListener) Addr() string { return "" }

// Accept is for Linux only; here it is errors.ErrUnsupported.
func (*StreamListener) Accept(context.Context) (Conn, error) { return nil, errStreamLinuxOnly }

// Close is for Linux only; here it is errors.ErrUnsupported.
func (*StreamListener) Close() error { return errStreamLinuxOnly }

// UnixStream is for Linux only; here it is errors.ErrUnsupported.
func UnixStream(*net.UnixConn, ...StreamOption) (Conn, error) { return nil, errStreamLinuxOnly }

// UnixStreamFromFile is for Linux only; here it is errors.ErrUnsupported.
func UnixStreamFromFile(*os.File, ...StreamOption) (Conn, error) { return nil, errStreamLinuxOnly }

// UnixStreamPair is for Linux only; here it is errors.ErrUnsupported.
func UnixStreamPair(...StreamOption) (a, b Conn, err error) { return nil, nil, errStreamLinuxOnly }

// StreamFile is for Linux only; here it is errors.ErrUnsupported.
func StreamFile(Conn) (*os.File, error) { return nil, errStreamLinuxOnly }

// DialUnixStream is for Linux only; here it is errors.ErrUnsupported.
func DialUnixStream(context.Context, string, ...StreamOption) (Conn, error) {
	return nil, errStreamLinuxOnly
}

// ListenUnixStream is for Linux only; here it is errors.ErrUnsupported.
func ListenUnixStream(string, ...StreamOption) (*StreamListener, error) {
	return nil, errStreamLinuxOnly
}

// TCP is for Linux only; here it is errors.ErrUnsupported.
func TCP(*net.TCPConn, ...StreamOption) (Conn, error) { return nil, errStreamLinuxOnly }

// TCPFromFile is for Linux only; here it is errors.ErrUnsupported.
func TCPFromFile(*os.File, ...StreamOption) (Conn, error) { return nil, errStreamLinuxOnly }

// DialTCP is for Linux only; here it is errors.ErrUnsupported.
func DialTCP(context.Context, string, ...StreamOption) (Conn, error) {
	return nil, errStreamLinuxOnly
}

// ListenTCP is for Linux only; here it is errors.ErrUnsupported.
func ListenTCP(string, ...StreamOption) (*StreamListener, error) { return nil, errStreamLinuxOnly }

// StreamBufferSizes is for Linux only; here it is errors.ErrUnsupported.
func StreamBufferSizes(syscall.Conn) (send, receive int, err error) {
	return 0, 0, errStreamLinuxOnly
}

// SetStreamBuffers is for Linux only; here it is errors.ErrUnsupported.
func SetStreamBuffers(syscall.Conn, int, int) error { return errStreamLinuxOnly }
