//go:build !amd64 && !arm64

package channel

import "sync/atomic"

var spun atomic.Uint32

// spinPause passes a short time; the architecture's own hint is not used here.
func spinPause(n uint32) {
	for range n {
		spun.Load()
	}
}
