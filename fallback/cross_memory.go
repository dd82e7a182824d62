package fallback

// CrossMemoryOptions are what CrossMemory leaves to its caller. The zero value will do.
type CrossMemoryOptions struct {
	// MaxMessage is the longest message in bytes; 0 means 64 MiB, 1 GiB is the most.
	// The smaller one of both sides holds for both.
	MaxMessage int

	// Inline is the longest message in bytes that this side sends through the
	// socket, by way of the kernel's memory, rather than have it fetched; 0
	// means 32 KiB, 64 KiB is the most.
	Inline int

	// Copy allows to send large messages as a copy in a memfd where the kernel does
	// not let the other process read this one's memory. Both sides must allow it. Else
	// CrossMemory fails, and says what is in the way.
	Copy bool

	// AllowPeer names the other process as the one that may trace this one, prctl(2)
	// PR_SET_PTRACER, which Yama's ptrace_scope 1 asks for. It is a right over all this
	// process's memory, which it keeps until it ends; a process names one other at a
	// time, so the next Conn with AllowPeer takes it from the last. Without Yama it is
	// nothing.
	AllowPeer bool
}

const (
	crossMaxDefault    = 64 << 20
	crossMaxMost       = 1 << 30
	crossInlineDefault = 32 << 10
	crossInlineMost    = 64 << 10
)

func (o CrossMemoryOptions) withDefaults() CrossMemoryOptions {
	if o.MaxMessage <= 0 {
		o.MaxMessage = crossMaxDefault
	}
	if o.Inline <= 0 {
		o.Inline = crossInlineDefault
	}
	o.MaxMessage = min(o.MaxMessage, crossMaxMost)
	o.Inline = min(o.Inline, crossInlineMost)
	return o
}
