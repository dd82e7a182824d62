package channel

import (
	"time"

	"github.com/shmchan/shmchan/fallback"
)

// Setup through a socket: channels that have no name in the file system, between
// processes that need not see each other's /dev/shm, nor run as the same user. One
// listens at a UNIX socket, the others dial; see Listen.

// DefaultHandshakeTimeout is HandshakeTimeout where the option is not given.
const DefaultHandshakeTimeout = 5 * time.Second

// setup is what concerns Listen and Dial alone.
type setup struct {
	checkPeer func(fallback.Credentials) error
	refused   func(fallback.Credentials, error)
	timeout   time.Duration
	capacity  int
	exact     bool // capacity is to be insisted on
}

// CheckPeer makes Listen and Dial ask check who is at the other end, before anything is
// handed over or taken: an error refuses that peer. The credentials are the kernel's
// (SO_PEERCRED, unix(7)): of who dialled, when it did, and at the dialling side of who
// listens. A user that has no number in this user namespace is 65534, a process that
// is not visible in this PID namespace 0. Listen may call check from several goroutines
// at once; it should return soon, since the time limit does not end it.
func CheckPeer(check func(fallback.Credentials) error) Option {
	return func(c *config) { c.setup.checkPeer = check }
}

// OnRefused makes Listen tell of those who dialled and did not get a channel, and why:
// the error is a *MismatchError (errors.As), CheckPeer's, fallback.ErrFrame for junk,
// os.ErrDeadlineExceeded for one that was too slow, io.EOF for one that left. It may be
// called from several goroutines at once, and holds up only the peer it is about.
func OnRefused(tell func(peer fallback.Credentials, why error)) Option {
	return func(c *config) { c.setup.refused = tell }
}

// HandshakeTimeout is how long the other side of Listen or Dial has for all of its part
// of the handshake; by default DefaultHandshakeTimeout.
func HandshakeTimeout(d time.Duration) Option {
	return func(c *config) {
		if d <= 0 {
			c.fail("HandshakeTimeout", d)
			return
		}
		c.setup.timeout = d
	}
}

// WantCapacity makes Dial insist on a capacity; without it the listener's will do.
func WantCapacity(messages int) Option {
	return func(c *config) {
		if messages < 0 {
			c.fail("WantCapacity", messages)
			return
		}
		c.setup.capacity, c.setup.exact = messages, true
	}
}

func (s *setup) limit() time.Duration {
	if s.timeout == 0 {
		return DefaultHandshakeTimeout
	}
	return s.timeout
}
