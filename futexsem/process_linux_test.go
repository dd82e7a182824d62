package futexsem

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// roles is what a child process can be told to do (see startChild).
var roles map[string]func(args []string)

func init() { // not in the declaration: the roles call what reads it
	roles = map[string]func(args []string){
		"wait": func(args []string) { // OBJECT N
			s := must(At(must(mapObject(args[0]))))
			for range number(args[1]) {
				check(s.Wait())
			}
		},
		"post": func(args []string) { // OBJECT N
			s := must(At(must(mapObject(args[0]))))
			for range number(args[1]) {
				check(s.Post())
			}
		},
		"cheap side":   cheapSide,
		"steady taker": steadyTaker,
		"fickle taker": fickleTaker,
		"open":         openAndPost,
		"create":       createForEver,
	}
}

func TestManyProcessesLoseNoWakeUp(t *testing.T) {
	guard(t)
	name, mem := newObject(t)
	s, err := Init(mem, 0)
	require.NoError(t, err)
	const processes, each = 4, 5000
	var children []*child
	for range processes {
		children = append(children,
			startChild(t, "wait", name, strconv.Itoa(each)),
			startChild(t, "post", name, strconv.Itoa(each)))
	}
	for _, c := range children {
		c.succeed(t)
	}
	requireIdle(t, s, 0)
}

func TestTwoProcessesTakeTurns(t *testing.T) {
	guard(t)
	name, mem := newObject(t)
	there, err := Init(mem, 0)
	require.NoError(t, err)
	back, err := Init(mem[64:], 0)
	require.NoError(t, err)
	c := startChild(t, "steady taker", name)
	for range 3000 {
		require.NoError(t, there.Post())
		require.NoError(t, back.Wait())
	}
	c.dismiss(t)
	require.Zero(t, there.Value())
	requireIdle(t, back, 0)
}

func TestAKilledWaiterTakesNoTokenAndNoWakeUp(t *testing.T) {
	guard(t)
	name, mem := newObject(t)
	s, err := Init(mem, 0)
	require.NoError(t, err)
	const killed = 4
	var children []*child
	for range killed {
		children = append(children, startChild(t, "wait", name, "1"))
	}
	awaitWaiters(s, killed)
	survivor := make(chan error)
	go func() { survivor <- s.Wait() }()
	awaitWaiters(s, killed+1)
	for _, c := range children {
		c.kill()
	}
	require.NoError(t, s.Post())
	require.NoError(t, <-survivor)
	require.Zero(t, s.Value())
	// As documented: they stay counted, which does no harm.
	require.EqualValues(t, killed, s.cell.waiters())
	for range 100 {
		go func() { survivor <- s.Wait() }()
		require.NoError(t, s.Post())
		require.NoError(t, <-survivor)
	}
	require.Zero(t, s.Value())
	require.EqualValues(t, killed, s.cell.waiters())
}

// Waiters are killed at any moment, tokens come all the while. A killed one may
// take one token with it, or one wake-up; the next post makes up for the latter.
func TestKilledWaitersDoNotStopTheOthers(t *testing.T) {
	guard(t)
	name, mem := newObject(t)
	tokens, err := Init(mem, 0)
	require.NoError(t, err)
	receipts, err := Init(mem[64:], 0)
	require.NoError(t, err)
	survivor := startChild(t, "steady taker", name)
	for range 15 {
		victim := startChild(t, "steady taker", name)
		for range 50 {
			require.NoError(t, tokens.Post())
			require.NoError(t, receipts.Wait())
		}
		go func() { _ = victim.cmd.Process.Kill() }()
		for range 50 {
			require.NoError(t, tokens.Post())
			for !fickleWait(receipts) {
				require.NoError(t, tokens.Post()) // in place of what the victim took along
			}
		}
		victim.kill()
		for fickleWait(tokens) || receipts.TryWait() == nil { // what was too much
		}
	}
	survivor.dismiss(t)
}
