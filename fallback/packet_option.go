package fallback

import "io/fs"

// A PacketOption chooses how a Conn over a UNIX seqpacket or datagram socket works.
type PacketOption func(*packetConfig)

type packetConfig struct {
	most          int
	send, receive int // buffers
	perm          fs.FileMode
	credentials   bool
}

func packetConfigOf(opts []PacketOption) packetConfig {
	c := packetConfig{perm: 0o600}
	for _, o := range opts {
		o(&c)
	}
	return c
}

// PacketMaxMessage is the longest message in bytes; both sides set it alike: a receiver
// takes a longer one for no sound frame (ErrFrame). The send buffer is made large
// enough for one; more than /proc/sys/net/core/wmem_max permits is refused when the Conn
// is made (ErrTooLarge), unless the process has CAP_NET_ADMIN. Without this option
// it is what the send buffer holds: 212,960 bytes where nobody has changed wmem_default.
func PacketMaxMessage(bytes int) PacketOption { return func(c *packetConfig) { c.most = bytes } }

// PacketBuffers are SO_SNDBUF and SO_RCVBUF in bytes, see Buffers; 0 leaves one as it is.
// On a UNIX socket only the send buffer matters: what was sent and not received counts there.
func PacketBuffers(send, receive int) PacketOption {
	return func(c *packetConfig) { c.send, c.receive = send, receive }
}

// PacketPerm is the mode of the socket in the file system that listening makes, exactly,
// whatever the umask: to connect, a process needs the permission to write. Without it, 0600.
// An abstract name has no mode: every process in the network namespace may connect.
func PacketPerm(perm fs.FileMode) PacketOption { return func(c *packetConfig) { c.perm = perm } }

// PacketCredentials has the kernel say of each message who sent it (SO_PASSCRED, unix(7)):
// ReceiveCredentials.
func PacketCredentials() PacketOption { return func(c *packetConfig) { c.credentials = true } }
