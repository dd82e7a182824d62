//go:build amd64 && !race

package ring

// On amd64 every store is a release and every load an acquire (Intel SDM vol. 3,
// "Memory Ordering"; AMD64 APM vol. 2, 7.2), so publishing needs no fence, only
// that the compiler keeps the order, which it does for stores through pointers:
// they form one chain of memory states in its SSA. Go's atomic.Store is an XCHG,
// a full fence: a first SPSC ring lost two thirds of its throughput to it.
// What is lost without the fence is the order against a *later load*: who needs
// that (does anybody sleep?) relies on the sleeper's membarrier(2), see Queue.Fence.

// storeRelease64 publishes: what was written before is visible to whoever loads v.
func storeRelease64(p *uint64, v uint64) { *p = v }

// storeRelease32 likewise.
func storeRelease32(p *uint32, v uint32) { *p = v }
