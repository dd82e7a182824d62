package fallback

import (
	"fmt"
	"os"
	"testing"
)

// roles are what this test binary does instead of testing when it is started with
// SHMCHAN_ROLE set: the other end, as a process of its own.
var roles = map[string]func(){}

func TestMain(m *testing.M) {
	if name := os.Getenv("SHMCHAN_ROLE"); name != "" {
		role, ok := roles[name]
		if !ok {
			fmt.Fprintln(os.Stderr, "no such role:", name)
			os.Exit(2)
		}
		role()
		os.Exit(0)
	}
	os.Exit(m.Run())
}
