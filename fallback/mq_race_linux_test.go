//go:build race

package fallback

const mqRaceEnabled = true
