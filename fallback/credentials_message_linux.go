package fallback

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// unknownID is what the kernel says of a message without credentials: overflowuid and
// overflowgid (proc(5)), unless somebody has changed them; the PID is 0 then.
const unknownID = 65534

// prepare is for a socket that is about to be bound.
func (c packetConfig) prepare(fd int) error {
	if !c.credentials {
		return nil
	}
	return passCredentials(fd)
}

// passCredentials asks the kernel for the credentials of each message. Before bind(2), so
// that none comes without.
func passCredentials(fd int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
}

func (p *unixPackets) sendCredentials(ctx context.Context, msg []byte, who Credentials) error {
	cred := unix.Ucred{Pid: int32(who.PID), Uid: uint32(who.UID), Gid: uint32(who.GID)}
	if int(cred.Pid) != who.PID || int64(cred.Uid) != int64(who.UID) || int64(cred.Gid) != int64(who.GID) {
		return p.failed("send", unix.EINVAL)
	}
	return p.send(ctx, msg, unix.UnixCredentials(&cred), nil, false)
}

func (p *unixPackets) receiveCredentials(ctx context.Context, dst []byte) ([]byte, Credentials, error) {
	if !p.credentials {
		return dst, Credentials{}, Refuse(p.kind, "credentials with a message, without PacketCredentials,")
	}
	room := rightsPool.Get().(*[rightsSpace]byte)
	defer rightsPool.Put(room)
	extra := packetExtra{control: room[:]}
	msg, err := p.receive(ctx, dst, &extra, false)
	control := room[:extra.controlLen]
	fds, _ := takeRights(control, extra.flags, MaxRights)
	closeDescriptors(fds)
	if err != nil {
		return dst, Credentials{}, err
	}
	return msg, credentialsIn(control), nil
}

func credentialsIn(control []byte) Credentials {
	for len(control) > 0 {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		control = rest
		if len(data) < unix.SizeofUcred {
			continue
		}
		cred, err := unix.ParseUnixCredentials(&unix.SocketControlMessage{Header: header, Data: data})
		if err == nil && (cred.Pid != 0 || cred.Uid != unknownID) {
			return Credentials{PID: int(cred.Pid), UID: int(cred.Uid), GID: int(cred.Gid)}
		}
	}
	return Credentials{UID: -1, GID: -1}
}
