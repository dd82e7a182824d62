package fallback

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mqPair makes two queues that two Conns see crosswise.
func mqPair(t testing.TB) (there, back string) {
	attr := &QueueAttr{MaxMessages: 4, MessageSize: 1024}
	there, back = mqNewName(t), mqNewName(t)
	for _, name := range []string{there, back} {
		q, err := OpenQueue(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600, attr)
		require.NoError(t, err)
		require.NoError(t, q.Close())
	}
	return there, back
}

func mqJoin(out, in string) (Conn, error) {
	o, err := OpenQueue(out, os.O_WRONLY, 0, nil)
	if err != nil {
		return nil, err
	}
	i, err := OpenQueue(in, os.O_RDONLY, 0, nil)
	if err != nil {
		return nil, err
	}
	return MQOver(o, i)
}

func mqJoined(t testing.TB, out, in string) Conn {
	c, err := mqJoin(out, in)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func init() {
	carriers = append(carriers, carrier{
		name: "MQ", // a queue for each direction
		open: func(t testing.TB) (Conn, Conn) {
			there, back := mqPair(t)
			return mqJoined(t, there, back), mqJoined(t, back, there)
		},
		give: func(t testing.TB) (Conn, []*os.File, string) {
			there, back := mqPair(t)
			return mqJoined(t, there, back), nil, back + " " + there
		},
		remake: func(arg string) (Conn, error) {
			out, in, _ := strings.Cut(arg, " ")
			return mqJoin(out, in)
		},
	}, carrier{
		name: "MQOneWay", // one queue, inherited as a descriptor
		open: func(t testing.TB) (Conn, Conn) {
			there, _ := mqPair(t)
			a, err := MQ(there, os.O_WRONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { a.Close() })
			b, err := MQ(there, os.O_RDONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { b.Close() })
			return a, b
		},
		give: func(t testing.TB) (Conn, []*os.File, string) {
			there, _ := mqPair(t)
			a, err := MQ(there, os.O_WRONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { a.Close() })
			b, err := OpenQueue(there, os.O_RDONLY, 0, nil)
			require.NoError(t, err)
			f, err := b.File()
			require.NoError(t, err)
			require.NoError(t, b.Close())
			return a, []*os.File{f}, ""
		},
		remake: func(string) (Conn, error) {
			q, err := QueueFromFile(os.NewFile(3, "queue"))
			if err != nil {
				return nil, err
			}
			return MQOver(nil, q)
		},
	})
}
