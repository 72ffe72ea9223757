package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// version is one of an object that may be in a directory. Older ones are there after a
// kill, before they were removed.
type version struct {
	id     ID
	number uint64
	whole  bool
	sizes  []int // of the slices
}

var versions = []version{
	{id: ID{0x11, 1}, number: 1, sizes: []int{300, 300}},
	{id: ID{0x11, 1}, number: 2, sizes: []int{300, 40, 0}},
	{id: ID{0x11, 2}, number: 3, whole: true, sizes: []int{50, 50}},
}

func (v version) meta() string { return fmt.Sprintf("meta data of %x-%d", v.id[:2], v.number) }

func (v version) slice(i int) []byte {
	return content(v.id, strconv.FormatUint(v.number, 10), int64(i), v.sizes[i])
}

// stored is a file as the format has it.
type stored struct {
	name string
	data []byte
}

func (v version) files() (list []stored) {
	needs := 0
	if v.whole {
		needs = len(v.sizes)
	}
	n := ident{id: v.id, version: v.number, index: metaIndex(needs)}
	list = append(list, stored{n.String(), n.encodeMeta([]byte(v.meta()))})
	for i := range v.sizes {
		data := v.slice(i)
		n = ident{id: v.id, version: v.number, index: int64(i), size: int64(len(data))}
		n.crc = n.checksum(data)
		list = append(list, stored{n.String(), data})
	}
	return list
}

// damagedBy returns the files after what a script does to them, four bytes for each step.
func damagedBy(script []byte, files []stored, data []byte) []stored {
	const most = 16 * 4
	for script = script[:min(len(script), most)]; len(script) >= 4; script = script[4:] {
		f, at := &files[int(script[1])%len(files)], int(script[2])<<8|int(script[3])
		other := &files[at%len(files)]
		switch script[0] % 8 {
		case 0:
			if len(f.data) > 0 {
				f.data = bytes.Clone(f.data)
				f.data[at/8%len(f.data)] ^= 1 << (at % 8)
			}
		case 1:
			f.data = f.data[:at%(len(f.data)+1)]
		case 2:
			f.data = append(bytes.Clone(f.data), byte(at))
		case 3:
			f.name = "" // removed
		case 4:
			f.data, other.data = other.data, f.data
		case 5:
			f.name, other.name = other.name, f.name
		case 6:
			f.data = data
		case 7: // another version's name, or another slice's, or none at all
			if len(f.name) > 0 {
				name := []byte(f.name)
				name[at/18%len(name)] = "0123456789abcdef-m"[at%18]
				f.name = string(name)
			}
		}
	}
	return files
}

// FuzzDirectory opens a directory in which anything may have happened to the files, and
// in which there may be another one: what is read of it is what was written, of one
// version, or nothing.
func FuzzDirectory(f *testing.F) {
	f.Add([]byte{}, "notes.txt", []byte("mine"))
	for kind := range byte(8) {
		f.Add([]byte{kind, 5, 1, 7}, versions[0].files()[1].name, versions[1].files()[1].data)
		f.Add([]byte{kind, 0, 0, 3, kind, 8, 0, 9, 3, 2, 0, 0}, strings.Repeat("0", 32)+"-0000000000000005-meta-0", []byte{})
	}
	dir := memDir(f)
	shardDir := filepath.Join(dir, shard(0x11))
	f.Fuzz(func(t *testing.T, script []byte, name string, data []byte) {
		must(t, os.RemoveAll(shardDir), os.MkdirAll(shardDir, 0o700))
		var files []stored
		for _, v := range versions {
			files = append(files, v.files()...)
		}
		files = append(damagedBy(script, files, data), stored{name, data})
		for _, file := range files {
			if file.name != "." && file.name == filepath.Base(file.name) && filepath.IsLocal(file.name) && !strings.Contains(file.name, "\x00") && len(file.name) < 256 {
				must(t, os.WriteFile(filepath.Join(shardDir, file.name), file.data, 0o600))
			}
		}
		s, err := open(dir, noLimit, Events{}, quick)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		checkRead(t, s, versions[0].id)
		checkRead(t, s, versions[2].id)
	})
}

// checkRead reads all that there is of an object.
func checkRead(t *testing.T, s *Store, id ID) {
	t.Helper()
	o, meta, err := s.Load(id)
	if err != nil {
		if !errors.Is(err, ErrNotStored) && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
		return
	}
	for _, v := range versions {
		if v.id != id || v.number != o.Version() {
			continue
		}
		if string(meta) != v.meta() {
			t.Errorf("version %d has the meta data %q", v.number, meta)
		}
		for i := o.Next(0); i >= 0; i = o.Next(i + 1) {
			b, err := read(t, o, i)
			if err == nil && (int(i) >= len(v.sizes) || !bytes.Equal(b, v.slice(int(i)))) {
				t.Errorf("wrong bytes of slice %d of version %d: %q", i, v.number, b)
			}
			if err != nil && (!errors.Is(err, ErrNotStored) && !errors.Is(err, ErrDamaged) || o.Has(i)) {
				t.Errorf("slice %d, which is there: %t: %v", i, o.Has(i), err)
			}
		}
		return
	}
	t.Errorf("loaded version %d of %x, which was never written: %q", o.Version(), id, meta)
}
