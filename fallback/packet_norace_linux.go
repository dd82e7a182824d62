//go:build !race && linux

package fallback

func packetGoes([]byte) {}
func packetCame([]byte) {}
