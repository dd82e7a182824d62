//go:build !linux

package fallback

import (
	"context"
	"net"
)

// A ShmConn is a Conn over shared memory; Linux alone has it.
type ShmConn struct{}

// Shm makes a Conn. Not on this system: errors.ErrUnsupported.
func Shm(ctx context.Context, c *net.UnixConn, o ShmOptions) (*ShmConn, error) {
	return nil, Refuse(KindShm, "the carrier")
}

// ShmPair makes both ends. Not on this system: errors.ErrUnsupported.
func ShmPair(o ShmOptions) (a, b *ShmConn, err error) {
	return nil, nil, Refuse(KindShm, "the carrier")
}

// Send implements Conn. Not on this system.
func (c *ShmConn) Send(ctx context.Context, msg []byte) error { return Refuse(KindShm, "the carrier") }

// TrySend implements Conn. Not on this system.
func (c *ShmConn) TrySend(msg []byte) error { return Refuse(KindShm, "the carrier") }

// Receive implements Conn. Not on this system.
func (c *ShmConn) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	return dst, Refuse(KindShm, "the carrier")
}

// TryReceive implements Conn. Not on this system.
func (c *ShmConn) TryReceive(dst []byte) ([]byte, error) { return dst, Refuse(KindShm, "the carrier") }

// CloseSend implements Conn. Not on this system.
func (c *ShmConn) CloseSend() error { return Refuse(KindShm, "the carrier") }

// Close implements Conn. Not on this system.
func (c *ShmConn) Close() error { return Refuse(KindShm, "the carrier") }

// MaxMessage implements Conn.
func (c *ShmConn) MaxMessage() int { return 0 }

// Kind implements Conn.
func (c *ShmConn) Kind() Kind { return KindShm }

// Capabilities implements Conn.
func (c *ShmConn) Capabilities() Capabilities { return Capabilities{} }

// Peer implements Conn. Not on this system.
func (c *ShmConn) Peer() (Credentials, error) { return Credentials{}, Refuse(KindShm, "credentials") }

var _ Conn = (*ShmConn)(nil)
