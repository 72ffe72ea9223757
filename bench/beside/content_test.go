package main

import (
	"bytes"
	"io"
	"testing"
)

func TestObjectBytes(t *testing.T) {
	for _, k := range []kind{cover, track} {
		o := k.objects("test", 2)[1]
		if found, ok := lookUp(o.pathAtOrigin()); !ok || found != o {
			t.Errorf("%s is %v, %t", o.pathAtOrigin(), found, ok)
		}
		whole, err := io.ReadAll(io.NewSectionReader(o, 0, o.size))
		if err != nil || int64(len(whole)) != k.size {
			t.Fatal(len(whole), err)
		}
		if !bytes.HasPrefix(whole, []byte(k.begins)) {
			t.Error("it does not begin as its type does")
		}
		if !o.has(whole, 0) || !o.has(whole[1000:7000], 1000) {
			t.Error("its own bytes are not its")
		}
		for name, wrong := range map[string]bool{
			"another object's":   k.object("test0000009").has(whole, 0),
			"those further on":   o.has(whole[4096:8192], 8192),
			"more than there is": o.has(append(bytes.Clone(whole), whole[0]), 0),
			"one bit":            o.has(append(bytes.Clone(whole[:5000]), whole[5000]^1), 0),
		} {
			if wrong {
				t.Errorf("%s is taken for right", name)
			}
		}
	}
	if o, ok := lookUp("/128/"); ok {
		t.Error(o)
	}
}
