//go:build amd64 || arm64

package channel

// spinPause tells the core n times, at least once, that this is a spinning loop
// (PAUSE, YIELD): it saves power and leaves the pipeline to a hyperthread.
//
//go:noescape
func spinPause(n uint32)
