//go:build !linux

package ring

import "time"

// fence waits for longer than a store stays in a store buffer.
func fence() { time.Sleep(2 * time.Millisecond) }
