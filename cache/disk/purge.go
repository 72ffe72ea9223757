package disk

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Purge removes what the IDs name, held or not, and returns when the files are unlinked,
// so that nothing of it comes back however the process ends. What is put after it has
// returned is another version, and stays. It does I/O.
func (s *Store) Purge(ids ...ID) error {
	for _, id := range ids {
		if err := s.list(id[0]); err != nil { // or else what is not known yet would stay
			return err
		}
		s.mu.Lock()
		if o := s.objects[id]; o != nil {
			s.remove(o)
		}
		for o := range s.held {
			if o.id == id {
				s.clear(o)
			}
		}
		s.mu.Unlock()
	}
	s.Flush() // what is to be unlinked goes first
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.stuck {
		for _, id := range ids {
			if f.o.id == id {
				return fmt.Errorf("object %x can't be unlinked", id[:])
			}
		}
	}
	return nil
}

// List waits until all that is in the directory is known. It does I/O.
func (s *Store) List() error {
	for k := range shards {
		if err := s.list(byte(k)); err != nil {
			return err
		}
	}
	return nil
}

// NextVersion returns a version later than those of all objects that are known, and
// earlier than those of all that are created from now on.
func (s *Store) NextVersion() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextVersion()
}

// maxNote bounds a note, in bytes.
const maxNote = 4 << 20

// SetNote keeps a note that is its owner's matter, in the place of one under the same
// ID. When it has returned without an error the note outlives the process, and the
// machine's power. Notes take room besides the limit. It does I/O.
func (s *Store) SetNote(id ID, b []byte) error {
	if len(b) > maxNote {
		return fmt.Errorf("note of %d bytes is too large", len(b))
	}
	s.notes.Lock()
	defer s.notes.Unlock()
	path := s.notePath(id)
	temp := path + ".new"
	if err := unlink(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := createSynced(temp, b); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil { //nolint:gosec // both are in the configured directory
		return err
	}
	return syncDir(s.dir)
}

// Note returns the note under an ID; none is no error. It does I/O.
func (s *Store) Note(id ID) ([]byte, error) {
	s.notes.Lock()
	defer s.notes.Unlock()
	b, err := os.ReadFile(s.notePath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (s *Store) notePath(id ID) string {
	return filepath.Join(s.dir, "note-"+hex.EncodeToString(id[:]))
}

func createSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // it is in the configured directory
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	dir, err := os.Open(path) //nolint:gosec // it is the configured directory
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
