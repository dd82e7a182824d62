package channel

import (
	"errors"
	"math/big"
	"reflect"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// TypeError says why T can never cross from one process to another. Open,
// Create, Attach, New and FromFile return it before they touch anything;
// errors.Is(err, errors.ErrUnsupported) holds. With WithCodec it does not come.
type TypeError struct {
	T      string // the channel's element type
	Path   string // where in it, from T: "T.Conn.fd"; [] is an element, [key] a map's key
	Type   string // what stands there: "uintptr"
	Reason string // why that cannot cross
}

// Error names the place, what stands there and why it cannot cross.
func (e *TypeError) Error() string {
	return e.Path + ": " + e.Type + ": " + e.Reason + " (T is " + e.T + ")"
}

// Unwrap returns errors.ErrUnsupported.
func (e *TypeError) Unwrap() error { return errors.ErrUnsupported }

// checkCrosses refuses a T that CBOR cannot carry from one process to another.
// endless reports that a value of T may contain itself.
//
// A chan, a func, an unsafe.Pointer or a uintptr is refused wherever it stands,
// in unexported fields too. What CBOR alone cannot do is refused only where it
// would be encoded: an unexported field, or one tagged "-", stays behind as it
// does with encoding/json. A struct of which nothing would cross is refused
// rather than delivered empty.
func checkCrosses(t reflect.Type) (endless bool, err error) {
	c := crossing{root: t, seen: map[visit]bool{}}
	err = c.check(t, "T", true)
	return c.endless, err
}

// visit is a type and whether values at that place are encoded.
type visit struct {
	typ     reflect.Type
	encoded bool
}

type crossing struct {
	root    reflect.Type
	seen    map[visit]bool // false while we are inside of it
	endless bool
}

func (c *crossing) refuse(t reflect.Type, path, reason string) error {
	return &TypeError{T: c.root.String(), Path: path, Type: t.String(), Reason: reason}
}

func (c *crossing) check(t reflect.Type, path string, encoded bool) error {
	v := visit{t, encoded}
	if done, seen := c.seen[v]; seen {
		c.endless = c.endless || encoded && !done
		return nil
	}
	c.seen[v] = false
	defer func() { c.seen[v] = true }()

	if encodesItself(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr:
		return c.refuse(t, path, "means nothing in another process")
	case reflect.Array, reflect.Slice:
		if t.Kind() == reflect.Array && t.Len() == 0 {
			return nil
		}
		return c.check(t.Elem(), path+"[]", encoded)
	case reflect.Pointer:
		return c.check(t.Elem(), path, encoded)
	case reflect.Map:
		if err := c.check(t.Key(), path+"[key]", encoded); err != nil {
			return err
		}
		return c.check(t.Elem(), path+"[]", encoded)
	case reflect.Struct:
		return c.fields(t, path, encoded)
	}
	if !encoded {
		return nil
	}
	switch t.Kind() {
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return c.refuse(t, path, "a receiver cannot know which type to make of an interface with methods; use any, a concrete type, or WithCodec")
		}
		c.endless = true
	case reflect.Complex64, reflect.Complex128:
		return c.refuse(t, path, "CBOR has no complex numbers; use a T without pointers, or WithCodec")
	}
	return nil
}

func (c *crossing) fields(t reflect.Type, path string, encoded bool) error {
	if encoded && halfMarshals(t) {
		return c.refuse(t, path, "encodes itself, but has no method that decodes it again")
	}
	hidden, carried := "", 0
	for i := range t.NumField() {
		f := t.Field(i)
		travels := fieldTravels(f)
		switch {
		case travels, cborTag(f) == "-": // or left out by wish
			carried++
		case f.Name != "_":
			hidden = f.Name
		}
		at := path + "." + f.Name
		if encoded && travels && !f.IsExported() && f.Type.Kind() == reflect.Pointer {
			return c.refuse(f.Type, at, "a receiver cannot set an embedded pointer to an unexported struct")
		}
		if err := c.check(f.Type, at, encoded && travels); err != nil {
			return err
		}
	}
	if encoded && carried == 0 && hidden != "" {
		return c.refuse(t, path, "none of its fields is exported, so nothing of it would cross; export them, give it MarshalBinary and UnmarshalBinary, or use WithCodec")
	}
	return nil
}

// fieldTravels is the CBOR encoder's rule: a field crosses if it is exported,
// or is an embedded struct, whose own exported fields count as the outer's.
func fieldTravels(f reflect.StructField) bool {
	if cborTag(f) == "-" {
		return false
	}
	inner := f.Type
	if inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	return f.IsExported() || f.Anonymous && inner.Kind() == reflect.Struct
}

var (
	timeType        = reflect.TypeFor[time.Time]()
	bigIntType      = reflect.TypeFor[big.Int]()
	cborMarshaler   = reflect.TypeFor[cbor.Marshaler]()
	cborUnmarshaler = reflect.TypeFor[cbor.Unmarshaler]()
)

// encodesItself reports whether the CBOR encoder and decoder leave t to itself,
// so that its fields do not matter.
func encodesItself(t reflect.Type) bool {
	if t == timeType || t == bigIntType {
		return true
	}
	if t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer {
		return false
	}
	p := reflect.PointerTo(t)
	return p.Implements(cborMarshaler) && p.Implements(cborUnmarshaler) ||
		p.Implements(binaryMarshaler) && p.Implements(binaryUnmarshaler)
}

// halfMarshals reports whether t has a method to encode itself, but none to decode.
func halfMarshals(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(cborMarshaler) || p.Implements(binaryMarshaler)
}
