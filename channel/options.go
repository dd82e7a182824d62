package channel

import (
	"io/fs"
	"time"
)

// An Option changes what Open, Create, Attach, New, FromFile and Unlink do.
// Options that describe the channel (SPSC, MPMC, MaxMessage, Space, WithCodec)
// must be the same for all who open it: a difference is a *MismatchError.
type Option func(*config)

type mode uint8

const (
	modeUnset mode = iota
	modeMPMC
	modeSPSC
)

func (m mode) String() string {
	switch m {
	case modeMPMC:
		return "MPMC"
	case modeSPSC:
		return "SPSC"
	}
	return "unset"
}

type config struct {
	mode       mode
	perm       fs.FileMode
	permSet    bool
	dir        string
	hangUp     bool
	codec      any
	maxMessage int
	space      int
	spin       SpinPolicy
	noFallback bool
	setup      setup
	err        error // the first bad option
}

// DefaultMaxMessage is MaxMessage where the option is not given, in bytes.
const DefaultMaxMessage = 64 << 10

// SPSC asks for a channel with one sending and one receiving handle, each used
// by one goroutine at a time. It is the fastest kind. A second handle gets
// ErrBusy at its first Send or Recv; the seat is free again when its holder
// detaches or dies.
func SPSC() Option { return func(c *config) { c.mode = modeSPSC } }

// MPMC asks for a channel with any number of senders and receivers, processes
// and goroutines alike. It is the default of Open, Create and New.
func MPMC() Option { return func(c *config) { c.mode = modeMPMC } }

// Perm sets the permission bits of an object that is created, exactly, whatever
// the umask. The default is 0600. Bits outside 0777 are refused with fs.ErrInvalid.
func Perm(mode fs.FileMode) Option {
	return func(c *config) { c.perm, c.permSet = mode, true }
}

// Dir sets the directory in which names live, by default /dev/shm. In a
// directory on a disk the messages outlive a reboot.
func Dir(path string) Option { return func(c *config) { c.dir = path } }

// HangUp makes this handle treat the other side's end as a pipe does: when
// senders have been and the last is gone, receiving drains and then ends with
// ErrPeerLost; when receivers have been and the last is gone, sending does.
func HangUp() Option { return func(c *config) { c.hangUp = true } }

// WithCodec replaces the encoding of T. Every process must use an equal codec.
func WithCodec[T any](codec Codec[T]) Option { return func(c *config) { c.codec = codec } }

// MaxMessage sets the largest encoded message, in bytes, from 1 to 1<<30; by default
// DefaultMaxMessage. It has no meaning for a T without pointers.
func MaxMessage(bytes int) Option {
	return func(c *config) {
		if bytes < 1 || bytes > maxMaxMessage {
			c.fail("MaxMessage", bytes)
			return
		}
		c.maxMessage = bytes
	}
}

// Space sets how many bytes encoded messages share. The default is
// (capacity + 1) × each, where each is MaxMessage + 128, held to 16 MiB or 4 × each,
// whichever is more.
// A Space below MaxMessage is raised to it.
func Space(bytes int) Option {
	return func(c *config) {
		if bytes < 1 {
			c.fail("Space", bytes)
			return
		}
		c.space = bytes
	}
}

// SpinPolicy says how long a blocked call spins before it sleeps.
type SpinPolicy struct {
	kind spinKind
	d    time.Duration
}

type spinKind uint8

const (
	spinAdaptive spinKind = iota
	spinNever
	spinFor
	spinBusy
)

// SpinAdaptive spins a bounded while that is learnt from what spinning gained
// before, and not at all where it cannot gain. It is the default.
func SpinAdaptive() SpinPolicy { return SpinPolicy{} }

// SpinNever goes to sleep at once.
func SpinNever() SpinPolicy { return SpinPolicy{kind: spinNever} }

// SpinFor spins for d before it sleeps.
func SpinFor(d time.Duration) SpinPolicy { return SpinPolicy{kind: spinFor, d: d} }

// SpinBusy never sleeps: for those who own their cores.
func SpinBusy() SpinPolicy { return SpinPolicy{kind: spinBusy} }

// Spin sets how long blocked calls of this handle spin before they sleep.
func Spin(policy SpinPolicy) Option { return func(c *config) { c.spin = policy } }

// NoFallback refuses any carrier but shared memory: where the system refuses that, so do
// Open, Create and Attach, with the system's error.
func NoFallback() Option { return func(c *config) { c.noFallback = true } }
