package fleet

import (
	"cmp"
	"slices"
	"time"
)

const (
	// answerFor is how old an entry may be that a node answers for: nobody waits any more.
	answerFor = time.Minute

	// maxOwed bounds the answers that a node owes, which are to entries of that minute.
	maxOwed = 4096
)

// owed is an answer that is due when all followers have applied an entry.
type owed struct {
	seq    uint64
	to     string
	more   bool // that there is nothing to tell need not be said
	failed bool // a follower could not keep it
}

// find returns where in the list the answer for an entry is, or would be.
func find(list []owed, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(list, seq, func(o owed, seq uint64) int { return cmp.Compare(o.seq, seq) })
}

// owe takes note that an entry is to be answered for. Another follower may have done so.
func (l *Log) owe(o owed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, known := find(l.owed, o.seq)
	if known {
		return
	}
	l.owed = slices.Insert(l.owed, i, o)
	if len(l.owed) > maxOwed {
		l.owed = slices.Delete(l.owed, 0, 1)
	}
}

// failedAt takes note that a follower could not apply an entry, which it tries again, or
// could not keep it, and says so to whom has appended it.
func (l *Log) failedAt(seq uint64, again bool) {
	l.mu.Lock()
	i, known := find(l.owed, seq)
	var to string
	if known {
		l.owed[i].failed = l.owed[i].failed || !again
		to = l.owed[i].to
	}
	l.mu.Unlock()
	if known && again {
		_ = l.reply(to, answer{Seq: seq, Failed: true}) // it is answered for once more
	}
}

// settle answers for what all followers have applied.
func (l *Log) settle() {
	l.mu.Lock()
	n, known := find(l.owed, l.applied())
	if known {
		n++
	}
	due := slices.Clone(l.owed[:n])
	l.owed = slices.Delete(l.owed, 0, n)
	l.mu.Unlock()
	for i, o := range due {
		if o.more && !o.failed {
			continue
		}
		if err := l.reply(o.to, answer{Seq: o.seq, Failed: o.failed, Done: true}); err == nil {
			continue
		}
		l.mu.Lock() // there is no connection: when there is one again
		l.owed = slices.Concat(due[i:], l.owed)
		slices.SortFunc(l.owed, func(a, b owed) int { return cmp.Compare(a.seq, b.seq) }) // others may have put back earlier ones
		l.owed = l.owed[max(0, len(l.owed)-maxOwed):]
		l.mu.Unlock()
		return
	}
}

// applied returns the sequence number up to which all followers have applied the log. l.mu
// is held.
func (l *Log) applied() uint64 {
	first, least := true, uint64(0)
	for f := range l.followers {
		if at := f.applied(); first || at < least {
			first, least = false, at
		}
	}
	return least
}
