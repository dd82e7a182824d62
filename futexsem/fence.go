package futexsem

import "sync/atomic"

var fenceWord atomic.Uint32

// FullFence is a full memory fence of the calling thread: its stores before are seen by
// whoever sees the outcome of a load after it. It is for those who may have no
// [Fence] on the other side. It never blocks or fails; any number of goroutines may call
// it at once.
func FullFence() { fenceWord.Add(1) } // a locked instruction, or what orders as one
