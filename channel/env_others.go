//go:build !linux

package channel

import (
	"runtime"
	"time"
)

// There is no shared memory to open elsewhere yet, so none of these is reached.

func futexWakeAll(*uint32)                      {}
func osYield()                                  { runtime.Gosched() }
func usableCPUs() int                           { return runtime.NumCPU() }
func hasMembarrier() bool                       { return false }
func fullFence()                                {}
func identity() (id struct{ start, ns uint64 }) { return id }

// Fence implements ring.Env.
func (k *core) Fence() {}

const askEvery = time.Millisecond

type watcher struct{}

func (*watcher) mustAsk() bool { return false }
func (*watcher) ensure(*core)  {}
func (*watcher) stop(*core)    {}
