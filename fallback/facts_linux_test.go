package fallback

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func factsByName(facts []Fact) map[string]Fact {
	m := map[string]Fact{}
	for _, f := range facts {
		m[f.Name] = f
	}
	return m
}

// Each carrier has its line, and the line says of it what the Conn says of itself.
func TestFactsAgreeWithTheCarriers(t *testing.T) {
	byKind := map[Kind]Fact{}
	for _, f := range Facts() {
		if f.Kind != KindNone {
			byKind[f.Kind] = f
		}
	}
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			if c.open == nil || c.name == "reference" {
				t.Skip("opened by child processes alone, or of no mechanism")
			}
			a, _ := c.open(t)
			f, ok := byKind[a.Kind()]
			if !ok {
				t.Skipf("%v is no mechanism of the kernel's", a.Kind())
			}
			require.True(t, f.Available, f.Why)
			require.Equal(t, a.Capabilities().Network, f.Network)
			require.Equal(t, a.Capabilities().Priorities, f.Priorities)
		})
	}
}

func TestFactsNameWhatIsLeftOutAndWhy(t *testing.T) {
	facts := factsByName(Facts())
	for _, name := range []string{"signals", "System V shared memory, semaphores, queues"} {
		f, ok := facts[name]
		require.True(t, ok, name)
		require.False(t, f.Available)
		require.Contains(t, f.Why, "left out")
	}
	for _, f := range facts {
		if f.Package == "" {
			continue
		}
		require.True(t, f.Available || f.Why != "", f.Name)
		for what, s := range map[string]string{
			"manual": f.Manual, "identity": f.Identity, "handle": f.Handle, "access": f.Access,
			"lifetime": f.Lifetime, "unit": f.Unit, "direction": f.Direction, "pollable": f.Pollable,
		} {
			require.NotEmpty(t, s, "%s of %s", what, f.Name)
		}
	}
}

func TestFactsLeaveNothingOpen(t *testing.T) {
	count := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(d)
	}
	Facts()
	before := count()
	for range 20 {
		Facts()
	}
	require.Equal(t, before, count())
}

func init() {
	roles["facts-without-descriptors"] = func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: 0}); err != nil {
			panic(err)
		}
		if err := json.NewEncoder(os.Stdout).Encode(Facts()); err != nil {
			panic(err)
		}
	}
}

// What a process is not allowed is not said to be there.
func TestFactsAreThisProcesss(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=facts-without-descriptors")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var facts []struct {
		Name      string
		Available bool
		Why       string
	}
	require.NoError(t, json.Unmarshal(out, &facts))
	for _, f := range facts {
		switch f.Name {
		case "anonymous shared memory", "pipe", "POSIX message queue", "UNIX stream socket", "TCP", "eventfd", "flock":
			require.False(t, f.Available, f.Name)
			require.Contains(t, f.Why, "too many open files", f.Name)
		case "futex":
			require.True(t, f.Available, f.Why)
		}
	}
}
