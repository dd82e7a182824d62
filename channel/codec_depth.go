package channel

import (
	"errors"
	"reflect"
	"sync"
)

var errTooDeep = errors.New("the value is nested too deeply, or contains itself")

// maxSteps bounds the way from a value to what lies deepest in it. It leaves
// room for a pointer and an any at each level that maxNesting allows.
const maxSteps = 4 * maxNesting

// checkDepth finds a value that contains itself, over which the CBOR encoder
// would exhaust the stack, which no program survives.
func checkDepth(v reflect.Value) error {
	if !withinSteps(v, maxSteps) {
		return errTooDeep
	}
	return nil
}

func withinSteps(v reflect.Value, steps int) bool {
	if steps == 0 {
		return false
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return v.IsNil() || withinSteps(v.Elem(), steps-1)
	case reflect.Slice, reflect.Array:
		if isFlat(v.Type().Elem().Kind()) {
			return true
		}
		for i := range v.Len() {
			if !withinSteps(v.Index(i), steps-1) {
				return false
			}
		}
	case reflect.Map:
		keys := !isFlat(v.Type().Key().Kind())
		for it := v.MapRange(); it.Next(); {
			if keys && !withinSteps(it.Key(), steps-1) || !withinSteps(it.Value(), steps-1) {
				return false
			}
		}
	case reflect.Struct:
		for _, i := range fieldsToFollow(v.Type()) {
			if !withinSteps(v.Field(i), steps-1) {
				return false
			}
		}
	}
	return true
}

// isFlat reports whether values of kind k hold no others.
func isFlat(k reflect.Kind) bool {
	return k <= reflect.Complex128 || k == reflect.String
}

var followed sync.Map // reflect.Type to []int

// fieldsToFollow are the fields of t that are encoded and may hold others. A
// parent pointer that is unexported or tagged "-" closes no cycle.
func fieldsToFollow(t reflect.Type) []int {
	if known, ok := followed.Load(t); ok {
		return known.([]int)
	}
	var fields []int
	if !encodesItself(t) {
		for i := range t.NumField() {
			if f := t.Field(i); fieldTravels(f) && !isFlat(f.Type.Kind()) {
				fields = append(fields, i)
			}
		}
	}
	followed.Store(t, fields)
	return fields
}
