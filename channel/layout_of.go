package channel

import (
	"encoding"
	"reflect"
	"strings"
)

// What has to be known of T before a channel of it can be opened: how its
// values travel, and what a program that opens the same channel must agree on.
//
// Two types agree when their fingerprints are equal. The fingerprint is taken
// of the structure alone: kinds, field names, offsets, sizes. The names of the
// types do not enter, so that two programs may each define their own Tick.
// The description says the same in words, for the text of a *MismatchError. It
// is held short and never decides anything.

// transfer says how values of T travel.
type transfer uint8

const (
	transferPlain  transfer = iota + 1 // no pointers: lies in its slot as it is
	transferBytes                      // []byte: its bytes
	transferString                     // string: its bytes
	transferBinary                     // encoding.BinaryMarshaler and BinaryUnmarshaler on *T
	transferCBOR                       // all other types with pointers
	transferCustom                     // WithCodec
)

func (t transfer) String() string {
	switch t {
	case transferPlain:
		return "plain"
	case transferBytes:
		return "raw bytes"
	case transferString:
		return "raw string"
	case transferBinary:
		return "MarshalBinary"
	case transferCBOR:
		return "CBOR"
	case transferCustom:
		return "own codec"
	}
	return "unknown"
}

// typeInfo is what describe finds out about T.
type typeInfo struct {
	transfer    transfer
	size, align uintptr // of T in memory, in bytes; size may be 0
	fingerprint uint64  // equal for types that agree; never 0
	description string  // for people, at most maxDescription bytes of UTF-8

	// endless: a value may contain itself (a recursive type, or an any in it),
	// so an encoder has to look out for cycles. Only set for transferCBOR.
	endless bool
}

// describe looks at T once, when the channel is opened. A T that can never
// cross is a *TypeError.
//
// With custom set (WithCodec) nothing is refused and nothing is plain: what of
// T crosses, and how, is then the codec's business. A func or chan in it is
// often a cache or a handle that the codec leaves out and puts back.
func describe[T any](custom bool) (typeInfo, error) {
	return describeType(reflect.TypeFor[T](), custom)
}

func describeType(t reflect.Type, custom bool) (typeInfo, error) {
	ti := typeInfo{
		transfer: transferOf(t, custom),
		size:     t.Size(),
		align:    uintptr(t.Align()),
	}
	if ti.transfer == transferCBOR {
		var err error
		if ti.endless, err = checkCrosses(t); err != nil {
			return typeInfo{}, err
		}
	}
	ti.fingerprint = fingerprintOf(t, ti)
	ti.description = descriptionOf(t, ti)
	return ti, nil
}

// transferOf chooses how T travels. The order is the rule: a T without
// pointers is plain even if it can marshal itself, and a []byte or string type
// goes raw even so, because its bytes are all that it is.
//
// Methods promoted from an embedded field count as T's own, as everywhere in
// Go: a struct that embeds time.Time marshals as the time alone, unless it has
// methods of its own.
func transferOf(t reflect.Type, custom bool) transfer {
	switch {
	case custom:
		return transferCustom
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return transferBytes
	case t.Kind() == reflect.String:
		return transferString
	case isPlain(t):
		return transferPlain
	case marshalsBinary(t):
		return transferBinary
	}
	return transferCBOR // or refused: checkCrosses decides
}

// isPlain reports whether a value of t means the same in every process that
// sees its bytes. Recursive types always hold a pointer, so this terminates.
func isPlain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		// [0]func() is how a struct is made incomparable: it holds no func.
		return t.Len() == 0 || isPlain(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !isPlain(t.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return false
}

var (
	binaryMarshaler   = reflect.TypeFor[encoding.BinaryMarshaler]()
	binaryUnmarshaler = reflect.TypeFor[encoding.BinaryUnmarshaler]()
)

// marshalsBinary reports whether *T can turn T into bytes and back.
func marshalsBinary(t reflect.Type) bool {
	if t.Kind() == reflect.Interface {
		return false
	}
	p := reflect.PointerTo(t)
	return p.Implements(binaryMarshaler) && p.Implements(binaryUnmarshaler)
}

// isStandard reports whether t is a struct of the standard library, which an
// encoded T names instead of describing: its unexported fields differ from one
// Go release to the next, its encoding does not. Plain types are always
// described in full, because their memory itself is what travels.
func isStandard(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t.PkgPath() == "" || strings.Contains(t.Name(), "[") {
		return false
	}
	first, _, _ := strings.Cut(t.PkgPath(), "/")
	return first != "main" && first != "command-line-arguments" && !strings.Contains(first, ".")
}

// with adds the name of a codec's type to what must agree: a codec of another name
// is taken for another codec.
func (ti typeInfo) with(codec any) typeInfo {
	name := reflect.TypeOf(codec).String()
	h := newFNV()
	h.number(ti.fingerprint)
	h.text(name)
	ti.fingerprint = max(1, uint64(h))
	ti.description = clip("codec "+name+": "+ti.description, maxDescription)
	return ti
}
