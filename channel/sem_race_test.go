//go:build linux && race

package channel_test

// semRace says that the race detector is in this build.
const semRace = true
