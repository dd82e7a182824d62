package channel

import "unsafe"

// asBytes lends *v as a []byte. T must be of kind slice, its elements of kind
// uint8: then both have the same memory layout and the same pointers in it.
func asBytes[T any](v *T) *[]byte { return (*[]byte)(unsafe.Pointer(v)) }

// asString lends *v as a string. T must be of kind string.
func asString[T any](v *T) *string { return (*string)(unsafe.Pointer(v)) }
