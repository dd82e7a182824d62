package channel_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// Small messages share memory with their neighbours; nobody may notice.
func TestSmallMessagesAreEachReceiversOwn(t *testing.T) {
	for _, opts := range [][]channel.Option{{channel.MPMC()}, {channel.SPSC()}} {
		ch, err := channel.New[[]byte](256, opts...)
		require.NoError(t, err)
		var want, got [][]byte
		for n := range 200 {
			m := bytes.Repeat([]byte{byte(n + 1)}, n%70)
			want = append(want, m)
			require.NoError(t, ch.Send(m))
		}
		for range want {
			m, ok := ch.Recv()
			require.True(t, ok)
			require.NotNil(t, m)
			require.Equal(t, len(m), cap(m), "an append would write into a neighbour")
			got = append(got, m)
		}
		require.Equal(t, want, got)
		for i := range got { // writing into one changes no other
			for j := range got[i] {
				got[i][j] = 0xff
			}
			if i+1 < len(got) {
				require.Equal(t, want[i+1], got[i+1])
			}
		}
		require.NoError(t, ch.Detach())
	}
}
