//go:build !race && linux

package fallback

const raceEnabled = false
