package fallback

import "context"

// credentialPasser is what a Conn made with PacketCredentials is.
type credentialPasser interface {
	sendCredentials(ctx context.Context, msg []byte, who Credentials) error
	receiveCredentials(ctx context.Context, dst []byte) (msg []byte, who Credentials, err error)
}

// SendCredentials is c.Send with credentials that this process states, for a receiver that
// asks for them (ReceiveCredentials); unix(7) SCM_CREDENTIALS. The kernel checks them: the PID is this
// process's (unless it has CAP_SYS_ADMIN), UID and GID are its real, effective or saved
// ones (CAP_SETUID, CAP_SETGID). Others are syscall.EPERM, a PID that is nobody's is
// syscall.ESRCH, and nothing is sent. Without it each message goes with the PID
// and the real UID and GID.
//
// Refused over anything but UNIX seqpacket and datagram sockets. Otherwise it is as Send.
func SendCredentials(ctx context.Context, c Conn, msg []byte, who Credentials) error {
	if p, ok := c.(credentialPasser); ok {
		return p.sendCredentials(ctx, msg, who)
	}
	return Refuse(c.Kind(), "credentials with a message")
}

// ReceiveCredentials is c.Receive that also tells who sent this very message, as the kernel
// says: where many send to one end, or the sender is not who connected, Conn.Peer cannot.
// Descriptors that come along are closed.
//
// The PID is as seen from this process's PID namespace, 0 if it is not visible there. UID and
// GID are -1 where the kernel does not know: the message was sent before this socket asked
// for credentials (by PacketCredentials, of either end). Whoever was privileged when they sent it may have
// stated others than their own, see SendCredentials.
//
// Refused unless c is a UNIX seqpacket or datagram socket made with PacketCredentials.
func ReceiveCredentials(ctx context.Context, c Conn, dst []byte) (msg []byte, who Credentials, err error) {
	if p, ok := c.(credentialPasser); ok {
		return p.receiveCredentials(ctx, dst)
	}
	return dst, Credentials{}, Refuse(c.Kind(), "credentials with a message")
}
