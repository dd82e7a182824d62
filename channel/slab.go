package channel

// Small messages that are received as []byte or string come out of slabs: a few of them
// share one allocation, which costs a fraction of one for each, for the allocator and
// for the garbage collector. Whoever keeps one of them keeps its neighbours'
// memory too, but no more than slabSize.
const (
	slabSize = 512
	slabMost = 64 // longer messages have memory of their own
)

// slabCopy is a private copy of b, which is read once, and what is left of the slab
// free. The copy has no capacity beyond its length, so that an append moves it.
func slabCopy(free, b []byte) (own, rest []byte) {
	n := len(b)
	if n > slabMost {
		own = make([]byte, n)
		copy(own, b)
		return own, free
	}
	if len(free) < slabMost {
		free = make([]byte, slabSize)
	}
	own = free[:n:n]
	copy(own, b)
	return own, free[(n+7)&^7:]
}
