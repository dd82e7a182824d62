package fallback

// ShmOptions are what Shm leaves to its caller. The zero value will do. Where the two
// sides differ, the smaller number holds for both.
type ShmOptions struct {
	// MaxMessage is the longest message in bytes; 0 means 64 KiB, 1 GiB is the most.
	MaxMessage int
	// Space is how many bytes of messages may wait in each direction; 0 means 1 MiB or
	// 4 × MaxMessage, whichever is more.
	Space int
	// Messages is how many messages may wait in each direction; 0 means 4096, 16 Mi
	// is the most.
	Messages int
}

const (
	shmConnMaxDefault = 64 << 10
	shmConnMaxMost    = 1 << 30
	shmConnMessages   = 4096
	shmConnMostOf     = 1 << 24
)

func (o ShmOptions) withDefaults() ShmOptions {
	if o.MaxMessage <= 0 {
		o.MaxMessage = shmConnMaxDefault
	}
	o.MaxMessage = min(o.MaxMessage, shmConnMaxMost)
	if o.Space <= 0 {
		o.Space = max(1<<20, min(4*o.MaxMessage, shmConnMaxMost))
	}
	o.Space = max(o.Space, o.MaxMessage)
	if o.Messages <= 0 {
		o.Messages = shmConnMessages
	}
	o.Messages = min(o.Messages, shmConnMostOf)
	return o
}
