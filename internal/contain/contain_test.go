package contain

import (
	"errors"
	"strings"
	"testing"
)

func TestDo(t *testing.T) {
	own := errors.New("own")
	if err := Do(func() error { return own }); err != own {
		t.Errorf("got %v", err)
	}
	err := Do(func() error { panic("secret") })
	p, ok := errors.AsType[*PanicError](err)
	if !ok || p.Value != "secret" || !strings.Contains(string(p.Stack), "TestDo") {
		t.Fatalf("got %#v", err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows the value: %v", err)
	}
	if !p.Claim() || p.Claim() {
		t.Error("a panic can be claimed once")
	}
}
