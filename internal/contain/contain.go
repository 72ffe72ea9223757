// Package contain makes errors of panics in background work, where they would end
// the process.
package contain

import (
	"runtime/debug"
	"sync/atomic"
)

// PanicError is what has become of a panic. Everyone who waited for the work gets
// the same one.
type PanicError struct {
	Value any    // what was panicked with
	Stack []byte // where, as debug.Stack formats it

	claimed atomic.Bool
}

// Error does not show the value, which may hold anything, a credential for
// instance.
func (e *PanicError) Error() string { return "panic in background work" }

// Claim returns true once: to the one who is to log the panic.
func (e *PanicError) Claim() bool { return !e.claimed.Swap(true) }

// Do calls f, and returns a *PanicError if it panics, or else f's own error.
func Do(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}
