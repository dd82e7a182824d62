//go:build linux

package channel_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// semMismatch checks an error that must be a *MismatchError about what.
func semMismatch[T any](t *testing.T, c *channel.Chan[T], err error, name, what string, words ...string) {
	t.Helper()
	if err == nil {
		c.Detach()
	}
	require.Error(t, err)
	require.Nil(t, c)
	var m *channel.MismatchError
	require.ErrorAs(t, err, &m)
	require.Equal(t, name, m.Name)
	require.Equal(t, what, m.What)
	require.NotEmpty(t, m.Want)
	require.NotEmpty(t, m.Have)
	require.NotEqual(t, m.Want, m.Have)
	semSays(t, err, append(words, name, what, m.Want, m.Have)...)
}

// semRejects opens an object of A, of every kind, as a channel of B.
func semRejects[A, B any](t *testing.T, what string, words ...string) {
	t.Helper()
	t.Run(what, func(t *testing.T) {
		name := uniqueName(t)
		c := semCreate[A](t, name, 4)
		b, err := channel.Open[B](name, 4)
		semMismatch(t, b, err, name, "type", append(words, "open")...)
		b, err = channel.Attach[B](name)
		semMismatch(t, b, err, name, "type", append(words, "attach")...)

		for _, source := range []*channel.Chan[A]{c, semNew[A](t, 4)} {
			f, err := source.File()
			require.NoError(t, err)
			b, err = channel.FromFile[B](f)
			require.NoError(t, f.Close())
			if err == nil {
				b.Detach()
			}
			var m *channel.MismatchError
			require.ErrorAs(t, err, &m)
			require.Equal(t, "type", m.What)
			semSays(t, err, words...)
		}
		require.Equal(t, 1, c.Stats().Members, "who was refused did not join")
		var v A
		semFill(t, c, v, v, v, v)
		require.ErrorIs(t, c.TrySend(v), channel.ErrFull)
	})
}

func TestSemAnotherTIsAMismatch(t *testing.T) {
	type price struct {
		Price float64
		Size  uint32
	}
	type renamed struct {
		Cost float64
		Size uint32
	}
	type retyped struct {
		Price float64
		Size  int32
	}
	type longer struct {
		Price float64
		Size  uint32
		Side  byte
	}
	type swapped struct {
		Size  uint32
		Price float64
	}
	type deep struct{ In struct{ A, B uint16 } }
	type deeper struct{ In struct{ A, C uint16 } }
	semRejects[uint64, int64](t, "sign", "uint64", "int64")
	semRejects[uint32, uint64](t, "size", "uint32", "uint64")
	semRejects[uint64, float64](t, "kind", "uint64", "float64")
	semRejects[bool, uint8](t, "bool and byte", "bool", "uint8")
	semRejects[[4]byte, [5]byte](t, "array length", "4", "5")
	semRejects[[8]byte, uint64](t, "array and integer")
	semRejects[struct{}, uint8](t, "nothing and byte")
	semRejects[price, renamed](t, "field name", "Price", "Cost")
	semRejects[price, retyped](t, "field type", "Size", "uint32", "int32")
	semRejects[price, longer](t, "one more field", "Side")
	semRejects[price, swapped](t, "field order")
	semRejects[deep, deeper](t, "field of a field", "B", "C")
	semRejects[[]byte, string](t, "bytes and string", "string")
	semRejects[[]byte, [8]byte](t, "slice and array")
	semRejects[string, semRecord](t, "string and struct", "string")
	semRejects[map[string]int, map[string]string](t, "map element")
	semRejects[[]int32, []int64](t, "slice element", "int32", "int64")
	semRejects[*int32, *int64](t, "pointer element", "int32", "int64")
}

func TestSemTheSameLayoutUnderAnotherTypeNameIsNoMismatch(t *testing.T) {
	type tick struct {
		Price float64
		Size  uint32
	}
	type trade struct {
		Price float64
		Size  uint32
	}
	type id uint64
	name := uniqueName(t)
	a := semCreate[tick](t, name, 4)
	b := semOpen[trade](t, name, 4)
	semFill(t, a, tick{1.5, 2})
	semWant(t, b, trade{1.5, 2})

	name = uniqueName(t)
	c := semCreate[uint64](t, name, 4)
	d := semAttach[id](t, name)
	semFill(t, c, 7)
	semWant(t, d, id(7))
}

func TestSemAnotherCapacityIsAMismatch(t *testing.T) {
	for _, have := range []int{0, 1, 8, 1000} {
		for _, want := range []int{0, 1, 7, 8, 16, 1001} {
			if have == want {
				continue
			}
			t.Run(fmt.Sprintf("have=%d/want=%d", have, want), func(t *testing.T) {
				name := uniqueName(t)
				c := semCreate[uint64](t, name, have)
				b, err := channel.Open[uint64](name, want)
				semMismatch(t, b, err, name, "capacity", "open", fmt.Sprint(have), fmt.Sprint(want))
				require.Equal(t, have, c.Cap())
				require.Equal(t, have, semAttach[uint64](t, name).Cap(), "Attach takes it from the object")
			})
		}
	}
}

func TestSemAnotherModeIsAMismatch(t *testing.T) {
	for _, have := range semModes {
		for _, want := range semModes {
			if have.name == want.name {
				continue
			}
			t.Run(have.name+" opened as "+want.name, func(t *testing.T) {
				name := uniqueName(t)
				c := semCreate[uint64](t, name, 4, have.opt)
				b, err := channel.Open[uint64](name, 4, want.opt)
				semMismatch(t, b, err, name, "mode", "open", "SPSC", "MPMC")
				b, err = channel.Attach[uint64](name, want.opt)
				semMismatch(t, b, err, name, "mode", "attach", "SPSC", "MPMC")
				f, err := c.File()
				require.NoError(t, err)
				defer f.Close()
				b, err = channel.FromFile[uint64](f, want.opt)
				if err == nil {
					b.Detach()
				}
				var m *channel.MismatchError
				require.ErrorAs(t, err, &m)
				require.Equal(t, "mode", m.What)
			})
		}
	}
}

func TestSemOpenWithoutAModeMeansMPMC(t *testing.T) {
	name := uniqueName(t)
	semCreate[uint64](t, name, 4, channel.SPSC())
	b, err := channel.Open[uint64](name, 4)
	semMismatch(t, b, err, name, "mode", "SPSC", "MPMC")

	name = uniqueName(t)
	semCreate[uint64](t, name, 4)
	semOpen[uint64](t, name, 4, channel.MPMC())
	b, err = channel.Attach[uint64](name, channel.SPSC())
	semMismatch(t, b, err, name, "mode")
}

func TestSemAttachTakesTheModeFromTheObject(t *testing.T) {
	for _, mode := range semModes {
		name := uniqueName(t)
		first := semCreate[uint64](t, name, 4, mode.opt)
		second := semAttach[uint64](t, name)
		require.NoError(t, first.Send(1))
		err := second.Send(2)
		if mode.name == "SPSC" {
			require.ErrorIs(t, err, channel.ErrBusy)
		} else {
			require.NoError(t, err)
		}
	}
}

func TestSemMaxMessageAndSpaceAreComparedIfTold(t *testing.T) {
	name := uniqueName(t)
	c := semCreate[[]byte](t, name, 4, channel.MaxMessage(1000), channel.Space(5000))
	semFill(t, c, make([]byte, 1000))
	require.ErrorIs(t, c.TrySend(make([]byte, 1001)), channel.ErrTooLarge)

	b, err := channel.Open[[]byte](name, 4, channel.MaxMessage(2000))
	semMismatch(t, b, err, name, "max message", "open", "1000", "2000")
	b, err = channel.Attach[[]byte](name, channel.MaxMessage(999))
	semMismatch(t, b, err, name, "max message", "attach", "1000", "999")
	b, err = channel.Open[[]byte](name, 4, channel.Space(6000))
	semMismatch(t, b, err, name, "space", "open", "5000", "6000")
	b, err = channel.Attach[[]byte](name, channel.Space(4000))
	semMismatch(t, b, err, name, "space", "attach", "5000", "4000")

	for _, opts := range [][]channel.Option{
		nil,
		{channel.MaxMessage(1000)},
		{channel.Space(5000)},
		{channel.MaxMessage(1000), channel.Space(5000)},
	} {
		for _, d := range []*channel.Chan[[]byte]{
			semOpen[[]byte](t, name, 4, opts...),
			semAttach[[]byte](t, name, opts...),
			semOther(t, c, opts...),
		} {
			require.ErrorIs(t, d.TrySend(make([]byte, 1001)), channel.ErrTooLarge)
			require.NoError(t, d.TrySend(make([]byte, 1000)))
			_, err := d.TryRecv()
			require.NoError(t, err)
		}
	}
}

func TestSemAnotherCodecIsAMismatch(t *testing.T) {
	name := uniqueName(t)
	semCreate[string](t, name, 4)
	b, err := channel.Open[string](name, 4, channel.WithCodec(semCaesar{1}))
	semOtherCodec(t, b, err, name)

	name = uniqueName(t)
	c := semCreate[string](t, name, 4, channel.WithCodec(semCaesar{1}))
	b, err = channel.Open[string](name, 4)
	semOtherCodec(t, b, err, name)
	b, err = channel.Attach[string](name)
	semOtherCodec(t, b, err, name)
	b, err = channel.Attach[string](name, channel.WithCodec(semReverse{}))
	semOtherCodec(t, b, err, name)

	d := semAttach[string](t, name, channel.WithCodec(semCaesar{1}))
	semFill(t, d, "text")
	semWant(t, c, "text")
}

// semOtherCodec: how the values travel may count as the type or as the codec.
func semOtherCodec(t *testing.T, c *channel.Chan[string], err error, name string) {
	t.Helper()
	if err == nil {
		c.Detach()
	}
	var m *channel.MismatchError
	require.ErrorAs(t, err, &m)
	require.Contains(t, []string{"codec", "type"}, m.What)
	semSays(t, err, name, "codec")
}

// semReverse writes a string from its end.
type semReverse struct{}

func (semReverse) Append(dst []byte, v string) ([]byte, error) {
	for i := len(v) - 1; i >= 0; i-- {
		dst = append(dst, v[i])
	}
	return dst, nil
}

func (semReverse) Decode(src []byte, v *string) error {
	out, err := semReverse{}.Append(nil, string(src))
	*v = string(out)
	return err
}

func TestSemHangUpAndSpinAreEachHandlesOwnAffair(t *testing.T) {
	name := uniqueName(t)
	semCreate[uint64](t, name, 4, channel.HangUp(), channel.Spin(channel.SpinNever()))
	semOpen[uint64](t, name, 4)
	semAttach[uint64](t, name, channel.Spin(channel.SpinAdaptive()))
}
