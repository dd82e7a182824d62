package channel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/ring"
)

func TestSetupMessagesCrossAsTheyAre(t *testing.T) {
	h := hello{
		version: setupVersion, abi: ring.ABI, mode: modeSPSC, packed: true, elem: 1, fingerprint: 2,
		capacity: -1, maxMessage: 3, space: 4, description: "string",
	}
	got, err := decodeHello(h.encode())
	require.NoError(t, err)
	require.Equal(t, h, got)
	long := string(make([]byte, 2*maxText))
	for _, v := range []verdict{
		{},
		{outcome: outcomeDiffers, what: "type", want: "a", have: "b"},
		{outcome: outcomeRefused},
		{outcome: outcomeFailed, text: "no"},
		{outcome: outcomeDiffers, what: long, want: long, have: long},
	} {
		b := v.encode(kindDone)
		require.LessOrEqual(t, len(b), maxSetup)
		got, err := decodeVerdict(b, kindDone)
		require.NoError(t, err)
		if v.what != long {
			require.Equal(t, v, got)
		}
		for n := range b { // cut short anywhere, and of the other kind
			_, err := decodeVerdict(b[:n], kindDone)
			require.Error(t, err)
		}
		_, err = decodeVerdict(b, kindAnswer)
		require.Error(t, err)
	}
}

func FuzzSetupMessages(f *testing.F) {
	h := hello{version: setupVersion, description: "x"}
	f.Add(h.encode())
	v := verdict{outcome: outcomeDiffers, what: "type"}
	f.Add(v.encode(kindAnswer))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeHello(b); err == nil && h.version == setupVersion {
			require.Equal(t, b, h.encode(), "there is one way to say it")
		}
		if v, err := decodeVerdict(b, kindAnswer); err == nil {
			_ = v.err()
		}
	})
}
