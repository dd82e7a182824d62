//go:build !linux

package fallback

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
)

// noPackets stands in for a Conn that there cannot be.
type noPackets struct{ kind Kind }

func (p *noPackets) refuse() error                           { return refusePackets(p.kind) }
func (p *noPackets) Send(context.Context, []byte) error      { return p.refuse() }
func (p *noPackets) TrySend([]byte) error                    { return p.refuse() }
func (p *noPackets) TryReceive(dst []byte) ([]byte, error)   { return dst, p.refuse() }
func (p *noPackets) CloseSend() error                        { return p.refuse() }
func (p *noPackets) Close() error                            { return p.refuse() }
func (p *noPackets) MaxMessage() int                         { return 0 }
func (p *noPackets) Kind() Kind                              { return p.kind }
func (p *noPackets) Capabilities() Capabilities              { return Capabilities{} }
func (p *noPackets) Peer() (Credentials, error)              { return Credentials{}, p.refuse() }
func (p *noPackets) Buffers() (send, receive int, err error) { return 0, 0, p.refuse() }
func (p *noPackets) SetBuffers(send, receive int) error      { return p.refuse() }
func (p *noPackets) File() (*os.File, error)                 { return nil, p.refuse() }
func (p *noPackets) Receive(_ context.Context, dst []byte) ([]byte, error) {
	return dst, p.refuse()
}

func refusePackets(k Kind) error {
	return fmt.Errorf("%w (this package has it on Linux only)", Refuse(k, "a socket"))
}

// A SeqpacketConn is for Linux only; here there is none.
type SeqpacketConn struct{ noPackets }

// A DatagramConn is for Linux only; here there is none.
type DatagramConn struct{ noPackets }

// A UDPConn is for Linux only; here there is none.
type UDPConn struct{ noPackets }

// A SeqpacketListener is for Linux only; here there is none.
type SeqpacketListener struct{}

var (
	_ Conn = (*SeqpacketConn)(nil)
	_ Conn = (*DatagramConn)(nil)
	_ Conn = (*UDPConn)(nil)
)

// UnixSeqpacket is for Linux only; here it is errors.ErrUnsupported.
func UnixSeqpacket(*net.UnixConn, ...PacketOption) (*SeqpacketConn, error) {
	return nil, refusePackets(KindUnixSeqpacket)
}

// UnixSeqpacketPair is for Linux only; here it is errors.ErrUnsupported.
func UnixSeqpacketPair(...PacketOption) (a, b *SeqpacketConn, err error) {
	return nil, nil, refusePackets(KindUnixSeqpacket)
}

// DialUnixSeqpacket is for Linux only; here it is errors.ErrUnsupported.
func DialUnixSeqpacket(context.Context, string, ...PacketOption) (*SeqpacketConn, error) {
	return nil, refusePackets(KindUnixSeqpacket)
}

// ListenUnixSeqpacket is for Linux only; here it is errors.ErrUnsupported.
func ListenUnixSeqpacket(string, ...PacketOption) (*SeqpacketListener, error) {
	return nil, refusePackets(KindUnixSeqpacket)
}

// Accept is errors.ErrUnsupported.
func (*SeqpacketListener) Accept(context.Context) (*SeqpacketConn, error) {
	return nil, refusePackets(KindUnixSeqpacket)
}

// Path is empty.
func (*SeqpacketListener) Path() string { return "" }

// Close is errors.ErrUnsupported.
func (*SeqpacketListener) Close() error { return refusePackets(KindUnixSeqpacket) }

// SendFiles is errors.ErrUnsupported.
func (c *SeqpacketConn) SendFiles(context.Context, []byte, ...*os.File) error { return c.refuse() }

// ReceiveFiles is errors.ErrUnsupported.
func (c *SeqpacketConn) ReceiveFiles(_ context.Context, dst []byte) ([]byte, []*os.File, error) {
	return dst, nil, c.refuse()
}

// UnixDatagram is for Linux only; here it is errors.ErrUnsupported.
func UnixDatagram(*net.UnixConn, ...PacketOption) (*DatagramConn, error) {
	return nil, refusePackets(KindUnixDatagram)
}

// UnixDatagramPair is for Linux only; here it is errors.ErrUnsupported.
func UnixDatagramPair(...PacketOption) (a, b *DatagramConn, err error) {
	return nil, nil, refusePackets(KindUnixDatagram)
}

// ListenUnixDatagram is for Linux only; here it is errors.ErrUnsupported.
func ListenUnixDatagram(string, ...PacketOption) (*DatagramConn, error) {
	return nil, refusePackets(KindUnixDatagram)
}

// DialUnixDatagram is for Linux only; here it is errors.ErrUnsupported.
func DialUnixDatagram(local, remote string, opts ...PacketOption) (*DatagramConn, error) {
	return nil, refusePackets(KindUnixDatagram)
}

// ReceiveFrom is errors.ErrUnsupported.
func (c *DatagramConn) ReceiveFrom(_ context.Context, dst []byte) (msg []byte, from string, err error) {
	return dst, "", c.refuse()
}

// SendTo is errors.ErrUnsupported.
func (c *DatagramConn) SendTo(context.Context, []byte, string) error { return c.refuse() }

// SendFiles is errors.ErrUnsupported.
func (c *DatagramConn) SendFiles(context.Context, []byte, ...*os.File) error { return c.refuse() }

// ReceiveFiles is errors.ErrUnsupported.
func (c *DatagramConn) ReceiveFiles(_ context.Context, dst []byte) ([]byte, []*os.File, error) {
	return dst, nil, c.refuse()
}

// UDP is for Linux only; here it is errors.ErrUnsupported.
func UDP(local, remote string, opts ...UDPOption) (*UDPConn, error) {
	return nil, refusePackets(KindUDP)
}

// UDPFrom is for Linux only; here it is errors.ErrUnsupported.
func UDPFrom(*net.UDPConn, ...UDPOption) (*UDPConn, error) { return nil, refusePackets(KindUDP) }

// ReceiveFrom is errors.ErrUnsupported.
func (c *UDPConn) ReceiveFrom(_ context.Context, dst []byte) (msg []byte, from netip.AddrPort, err error) {
	return dst, from, c.refuse()
}

// SendTo is errors.ErrUnsupported.
func (c *UDPConn) SendTo(context.Context, []byte, netip.AddrPort) error { return c.refuse() }

// LocalAddr is the zero value.
func (c *UDPConn) LocalAddr() netip.AddrPort { return netip.AddrPort{} }

// Stats are zeros.
func (c *UDPConn) Stats() UDPStats { return UDPStats{} }

// JoinGroup is errors.ErrUnsupported.
func (c *UDPConn) JoinGroup(netip.Addr, string) error { return c.refuse() }

// LeaveGroup is errors.ErrUnsupported.
func (c *UDPConn) LeaveGroup(netip.Addr, string) error { return c.refuse() }
