//go:build !linux

package fallback

import (
	"context"
	"net"
	"syscall"
)

// A CrossMemoryConn is a Conn over cross-memory attach; Linux alone has it.
type CrossMemoryConn struct{}

// CrossMemory makes a Conn. Not on this system: errors.ErrUnsupported.
func CrossMemory(ctx context.Context, c *net.UnixConn, o CrossMemoryOptions) (*CrossMemoryConn, error) {
	return nil, Refuse(KindCrossMemory, "the carrier")
}

// CrossMemoryPair makes both ends. Not on this system: errors.ErrUnsupported.
func CrossMemoryPair(o CrossMemoryOptions) (a, b *CrossMemoryConn, err error) {
	return nil, nil, Refuse(KindCrossMemory, "the carrier")
}

// Copies says whether large messages are copied.
func (c *CrossMemoryConn) Copies() bool { return false }

// SyscallConn gives the descriptor. Not on this system.
func (c *CrossMemoryConn) SyscallConn() (syscall.RawConn, error) {
	return nil, Refuse(KindCrossMemory, "the carrier")
}

// Send implements Conn. Not on this system.
func (c *CrossMemoryConn) Send(ctx context.Context, msg []byte) error {
	return Refuse(KindCrossMemory, "the carrier")
}

// TrySend implements Conn. Not on this system.
func (c *CrossMemoryConn) TrySend(msg []byte) error { return Refuse(KindCrossMemory, "the carrier") }

// Receive implements Conn. Not on this system.
func (c *CrossMemoryConn) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	return dst, Refuse(KindCrossMemory, "the carrier")
}

// TryReceive implements Conn. Not on this system.
func (c *CrossMemoryConn) TryReceive(dst []byte) ([]byte, error) {
	return dst, Refuse(KindCrossMemory, "the carrier")
}

// CloseSend implements Conn. Not on this system.
func (c *CrossMemoryConn) CloseSend() error { return Refuse(KindCrossMemory, "the carrier") }

// Close implements Conn. Not on this system.
func (c *CrossMemoryConn) Close() error { return Refuse(KindCrossMemory, "the carrier") }

// MaxMessage implements Conn.
func (c *CrossMemoryConn) MaxMessage() int { return 0 }

// Kind implements Conn.
func (c *CrossMemoryConn) Kind() Kind { return KindCrossMemory }

// Capabilities implements Conn.
func (c *CrossMemoryConn) Capabilities() Capabilities { return Capabilities{} }

// Peer implements Conn. Not on this system.
func (c *CrossMemoryConn) Peer() (Credentials, error) {
	return Credentials{}, Refuse(KindCrossMemory, "credentials")
}

var _ Conn = (*CrossMemoryConn)(nil)
