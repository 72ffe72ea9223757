package resolver

import (
	"encoding/base64"
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseID(t *testing.T) {
	for _, tt := range []struct{ source, voyo string }{
		{"OSBan_sH_b8", "vyo_T1NCYW5fc0hfYjg"},
		{"dQw4w9WgXcQ", "vyo_ZFF3NHc5V2dYY1E"},
		{"vyo_abcdefg", "vyo_dnlvX2FiY2RlZmc"}, // a source ID that begins like a VOYO ID
		{"-----------", "vyo_LS0tLS0tLS0tLS0"},
	} {
		for _, in := range []string{tt.source, tt.voyo} {
			id, err := ParseID(in)
			if err != nil {
				t.Errorf("ParseID(%q): %v", in, err)
				continue
			}
			if id.String() != tt.source || id.VOYO() != tt.voyo {
				t.Errorf("ParseID(%q) = %s, %s; want %s, %s", in, id, id.VOYO(), tt.source, tt.voyo)
			}
			if got := IsVOYO(in); got != (in == tt.voyo) {
				t.Errorf("IsVOYO(%q) = %v", in, got)
			}
		}
	}
}

func TestParseIDInvalid(t *testing.T) {
	encode := func(s string) string { return "vyo_" + base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for name, in := range map[string]string{
		"empty":                      "",
		"prefix alone":               "vyo_",
		"short source":               "dQw4w9WgXc",
		"long source":                "dQw4w9WgXcQQ",
		"slash in source":            "dQw4w9/gXcQ",
		"dot in source":              "..w4w9WgXcQ",
		"newline in source":          "dQw4w9WgXc\n",
		"newline after source":       "dQw4w9WgXcQ\n",
		"nul in source":              "dQw4w9WgXc\x00",
		"letter beyond ascii":        "dQw4w9WgXé",
		"space before":               " dQw4w9WgXcQ",
		"prefix in upper case":       "VYO_ZFF3NHc5V2dYY1E",
		"padding":                    "vyo_ZFF3NHc5V2dYY1E=",
		"padding instead of a char":  "vyo_ZFF3NHc5V2dYY1=",
		"trailing bits 01":           "vyo_ZFF3NHc5V2dYY1F",
		"trailing bits 10":           "vyo_ZFF3NHc5V2dYY1G",
		"trailing bits 11":           "vyo_ZFF3NHc5V2dYY1H",
		"newline within":             "vyo_ZFF3NHc5\nV2dYY1E",
		"newline after":              "vyo_ZFF3NHc5V2dYY1E\n",
		"newline instead of a char":  "vyo_ZFF3NHc5V2dYY1\n",
		"ten bytes and a newline":    encode("dQw4w9WgXc") + "\n",
		"line break instead of two":  "vyo_ZFF3NHc5V2dYY\r\n",
		"base64 of the other kind":   "vyo_ZFF3NHc5V2dYY+/",
		"too short":                  encode("dQw4w9WgXc"),
		"too long":                   encode("dQw4w9WgXcQQ"),
		"decodes to a slash":         encode("dQw4w9/gXcQ"),
		"decodes to a path":          encode("../../../ab"),
		"decodes to a newline":       encode("dQw4w9WgXc\n"),
		"decodes to no letters":      encode(strings.Repeat("\xff", 11)),
		"percent-encoded":            "vyo_ZFF3NHc5V2dYY%31",
		"VOYO ID in a VOYO ID":       encode("vyo_ZFF3NHc5V2dYY1E"),
		"second segment after an ID": "dQw4w9WgXcQ/x",
	} {
		if id, err := ParseID(in); !errors.Is(err, ErrInvalidID) || id != "" {
			t.Errorf("%s: ParseID(%q) = %q, %v", name, in, id, err)
		}
	}
}

// checkOnlyForms fails if s is accepted and is not one of the two strings that
// its own track has.
func checkOnlyForms(t rapid.TB, s string) {
	id, err := ParseID(s)
	if err != nil {
		if !errors.Is(err, ErrInvalidID) || id != "" {
			t.Fatalf("ParseID(%q) = %q, %v", s, id, err)
		}
		return
	}
	if s != id.String() && s != id.VOYO() {
		t.Fatalf("%q is a third name of %s", s, id)
	}
	if IsVOYO(s) != (s == id.VOYO()) {
		t.Fatalf("IsVOYO(%q) = %v", s, IsVOYO(s))
	}
}

func TestIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		source := rapid.StringMatching(`[A-Za-z0-9_-]{11}`).Draw(t, "source")
		id, err := ParseID(source)
		if err != nil || id.String() != source {
			t.Fatalf("ParseID(%q) = %q, %v", source, id, err)
		}
		again, err := ParseID(id.VOYO())
		if err != nil || again != id {
			t.Fatalf("ParseID(%q) = %q, %v", id.VOYO(), again, err)
		}

		// Whatever is changed in an ID, it never becomes another name of a track.
		for _, form := range []string{source, id.VOYO()} {
			i := rapid.IntRange(0, len(form)-1).Draw(t, "at")
			b := rapid.Byte().Draw(t, "byte")
			checkOnlyForms(t, form[:i]+string([]byte{b})+form[i+1:])
			checkOnlyForms(t, form[:i]+string([]byte{b})+form[i:])
			checkOnlyForms(t, form[:i]+form[i+1:])
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{
		"OSBan_sH_b8", "vyo_T1NCYW5fc0hfYjg", "dQw4w9WgXcQ", "vyo_ZFF3NHc5V2dYY1E", "vyo_abcdefg",
		"vyo_ZFF3NHc5V2dYY1F", "vyo_ZFF3NHc5V2dYY1E=", "vyo_ZFF3NHc5\nV2dYY1E", "",
	} {
		f.Add(s)
	}
	source := regexp.MustCompile(`^[A-Za-z0-9_-]{11}$`)
	f.Fuzz(func(t *testing.T, s string) {
		checkOnlyForms(t, s)
		for _, form := range []string{s, voyoPrefix + base64.RawURLEncoding.EncodeToString([]byte(s))} {
			if id, err := ParseID(form); source.MatchString(s) != (id == ID(s) && err == nil) {
				t.Errorf("ParseID(%q) = %q, %v", form, id, err)
			}
		}
	})
}
