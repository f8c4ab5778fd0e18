// Package memory tells tests whether two values share memory, so that a Clone which
// forgets a field of its type, or one that is new, is found.
package memory

import (
	"net/netip"
	"reflect"
	"time"
)

// Shared says where two values share memory through which one of them could be changed by
// way of the other: as a path that begins with the name of their type, such as
// Location.DNS, or "" if they do not. What is empty in a shares nothing, so a has to be
// full. Of kinds that it cannot compare, maps among them, it says so in the place of an
// answer.
func Shared[T any](a, b T) string {
	return shared(reflect.ValueOf(a), reflect.ValueOf(b), reflect.TypeFor[T]().Name())
}

func shared(a, b reflect.Value, path string) string {
	switch a.Kind() {
	case reflect.Struct:
		switch a.Interface().(type) {
		case netip.Addr, netip.Prefix, netip.AddrPort, time.Time: // never written to
			return ""
		}
		for i := range a.NumField() {
			if p := shared(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name); p != "" {
				return p
			}
		}
	case reflect.Slice:
		if a.Len() > 0 && a.UnsafePointer() == b.UnsafePointer() {
			return path
		}
		for i := range min(a.Len(), b.Len()) {
			if p := shared(a.Index(i), b.Index(i), path+"[]"); p != "" {
				return p
			}
		}
	case reflect.Pointer:
		switch {
		case a.IsNil() || b.IsNil():
		case a.UnsafePointer() == b.UnsafePointer():
			return path
		default:
			return shared(a.Elem(), b.Elem(), path)
		}
	case reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.UnsafePointer:
		return path + " (say here how to compare a " + a.Kind().String() + ")"
	default:
	}
	return ""
}
