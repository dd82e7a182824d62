package channel

import (
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMismatchSaysWhatDiffersAndWhatHelps(t *testing.T) {
	for _, c := range []struct {
		err  MismatchError
		want string
	}{
		{
			MismatchError{Name: "ticks", What: "capacity", Want: "4096", Have: "1024"},
			`channel "ticks": the capacity differs: here 4096, there 1024; open it as it is, or if nobody needs it any more forget it: shmchan rm ticks, or channel.Unlink`,
		},
		{
			MismatchError{Name: "my ticks", What: "ABI", Want: "2", Have: "1"},
			`channel "my ticks": the ABI differs: here 2, there 1; build both programs with the same release of shmchan, or if nobody needs the channel any more forget it: shmchan rm 'my ticks', or channel.Unlink`,
		},
		{
			MismatchError{What: "mode", Want: "SPSC", Have: "MPMC"},
			`unnamed channel: the mode differs: here SPSC, there MPMC; both sides must open it alike`,
		},
		{
			MismatchError{Name: "-f", What: "type", Want: "int64 (8 bytes, plain)", Have: "\x1b[2Jevil\xff\u202e (8 bytes, plain)"},
			`channel "-f": the type differs: here int64 (8 bytes, plain), there ?[2Jevil?? (8 bytes, plain); first difference: int64 here and ?[2Jevil?? there; open it as it is, or if nobody needs it any more forget it: shmchan rm -- -f, or channel.Unlink`,
		},
	} {
		require.EqualError(t, &c.err, c.want)
	}
}

func TestFirstDifferenceIsFound(t *testing.T) {
	type level struct {
		Price float64
		Size  uint32
	}
	describe := func(ti typeInfo, err error) string {
		require.NoError(t, err)
		return ti.description
	}
	tick := describe(describe64[level]())
	for _, c := range []struct{ here, there, want string }{
		{tick, tick, "not in what the descriptions show; they leave out what lies deeper"},
		{tick, describe(describe64[struct {
			Price float64
			Size  uint64
		}]()), "field 2 is Size uint32 @8 here and Size uint64 @8 there"},
		{tick, describe(describe64[struct {
			Price float64
			Count uint32
		}]()), "field 2 is Size uint32 @8 here and Count uint32 @8 there"},
		{tick, describe(describe64[struct {
			Price  float64
			Size   uint32
			Volume uint32
		}]()), "2 fields here and 3 there; field 3, Volume uint32 @12, is only there"},
		{tick, describe(describe64[struct{ Price float64 }]()), "2 fields here and 1 there; field 2, Size uint32 @8, is only here"},
		{tick, describe(describe64[struct{}]()), "2 fields here and 0 there; field 1, Price float64 @0, is only here"},
		{tick, describe(describe64[int64]()), "struct{Price float64 @0; Size uint32 @8} here and int64 there"},
		{
			describe(describe64[struct{ Bid, Ask [2]level }]()),
			describe(describe64[struct {
				Bid [2]level
				Ask [2]struct {
					Price float64
					Size  int32
				}
			}]()),
			"field 2 of Ask is Size uint32 @8 here and Size int32 @8 there",
		},
		{
			`struct{A string @0 "a; b @{\"} @"; B int64 @16} (24 bytes, CBOR)`,
			`struct{A string @0 "a; b @{\"} @"; B int32 @16} (24 bytes, CBOR)`,
			"field 2 is B int64 @16 here and B int32 @16 there",
		},
		{"int(8 bytes) (8 bytes, plain)", "int(4 bytes) (4 bytes, plain)", "int(8 bytes) here and int(4 bytes) there"},
		{"*int64 (8 bytes, CBOR)", "*int64 (4 bytes, CBOR)", "the size or the encoding: (8 bytes, CBOR) here and (4 bytes, CBOR) there"},
		{"struct{A int8 @0; B… #12 (9 bytes, plain)", "struct{A int8 @0; B… #13 (9 bytes, plain)", "field 2 is B… #12 here and B… #13 there"},
		{"", "", "not in what the descriptions show; they leave out what lies deeper"},
		{tick, "", "struct{Price float64 @0; Size uint32 @8} here and nothing there"},
	} {
		require.Equal(t, c.want, firstDifference(c.here, c.there), "%s\n%s", c.here, c.there)
	}
}

// describe64 describes a type whose layout is the same on every machine.
func describe64[T any]() (typeInfo, error) { return describe[T](false) }

func TestMismatchOfAnyTwoTypesNamesADifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, err := describeType(layoutDrawType(t, 4), false)
		require.NoError(t, err)
		b, err := describeType(layoutDrawType(t, 4), false)
		require.NoError(t, err)
		text := firstDifference(a.description, b.description)
		require.Equal(t, a.fingerprint != b.fingerprint, strings.Contains(text, " here and "), text)
		require.Less(t, len(text), 800)
	})
}

func TestDeepDifferencesEndSomewhere(t *testing.T) {
	here := strings.Repeat("struct{A ", 500) + "int8" + strings.Repeat(" @0}", 500)
	there := strings.Repeat("struct{A ", 500) + "int9" + strings.Repeat(" @0}", 500)
	require.NotEmpty(t, firstDifference(here, there))
}

func FuzzMismatch(f *testing.F) {
	f.Add("struct{A int8 @0; B struct{C int8 @0} @8} (16 bytes, plain)", "struct{A int8 @0; B struct{D int8 @0} @8} (16 bytes, plain)")
	f.Add("struct{", "struct{}")
	f.Add("struct{A \"", "struct{A \\")
	f.Add(strings.Repeat("struct{", 2000), strings.Repeat("}", 2000))
	f.Add("\xff\x00\x1b", "…")
	f.Fuzz(func(t *testing.T, want, have string) {
		require.NotEmpty(t, firstDifference(want, have))
		require.NotEmpty(t, firstDifference(have, want))
		text := (&MismatchError{Name: have, What: "type", Want: want, Have: have}).Error()
		require.True(t, utf8.ValidString(text))
		require.Less(t, strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }), 0, strconv.Quote(text))
		require.Less(t, len(text), 4*maxShown)
	})
}
