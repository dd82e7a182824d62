//go:build !linux

package futexsem

// RegisterFence returns false: this system has no membarrier(2).
func RegisterFence() bool { return false }

// Fence does nothing on this system, where RegisterFence is false for everybody.
func Fence() {}
