package voyo

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"
)

// showFleet shows how the nodes of the fleet are.
func (f *statusFlags) showFleet(w io.Writer) error {
	var raw json.RawMessage
	if err := f.admin.ask(http.MethodGet, "/voyo/status?fleet=true", nil, &raw); err != nil {
		return err
	}
	if f.json {
		_, err := fmt.Fprintf(w, "%s\n", raw)
		return err
	}
	var answer fleetStatus
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return answer.print(w)
}

// print prints a line for each node, and below what is not well.
func (f fleetStatus) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tSTATUS\tVERSION\tUP\tSTREAMS\tHITS\tMEMORY\tDISK\tBEHIND\tDOWN")
	var remarks []string
	for _, n := range f.Nodes {
		var s nodeStatus
		switch {
		case !n.Answered:
			fmt.Fprintf(table, "%s\taway\t%s\t-\t-\t-\t-\t-\t-\t-\n", n.Name, n.Version)
			if !n.Renewed.IsZero() {
				remarks = append(remarks, fmt.Sprintf("%s: last seen %s", n.Name, n.Renewed.UTC().Format(time.RFC3339)))
			}
			continue
		case json.Unmarshal(n.Status, &s) != nil: // of another version, or nothing
			fmt.Fprintf(table, "%s\tunknown\t%s\t-\t-\t-\t-\t-\t-\t-\n", n.Name, n.Version)
			continue
		}
		s.printLine(table, n.Name)
		for _, reason := range s.Reasons {
			remarks = append(remarks, n.Name+": "+reason)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, remark := range remarks {
		fmt.Fprintln(w, remark)
	}
	return nil
}

// printLine prints the status as one of many.
func (s nodeStatus) printLine(w io.Writer, name string) {
	var all cacheStatus
	for _, c := range s.Caches.list() {
		all.add(c)
	}
	disk := "-"
	if used, limit := s.Caches.onDisk(); limit > 0 {
		disk = filled(used, limit)
	}
	behind := "-"
	if s.Fleet != nil {
		behind = entriesOf(s.Fleet.Lag)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n",
		name, s.Status, s.Version, time.Duration(s.Uptime)*time.Second, s.ActiveStreams, all.ratio(),
		filled(all.Bytes, all.Limit), disk, behind, counted(s.Takedowns, "track"))
}

// onDisk returns how many bytes of the disks are taken, and may be.
func (c cachesStatus) onDisk() (used, limit int64) {
	for _, one := range c.list() {
		if one.Disk != nil {
			used, limit = used+one.Disk.Bytes, limit+one.Disk.Limit
		}
	}
	return used, limit
}

// entriesOf returns a number of entries of the fleet's log in words.
func entriesOf(n uint64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

// receipt is an answer that says which nodes have done what was asked for.
type receipt interface {
	print(w io.Writer)
	printOthers(w io.Writer)
	incomplete() error
}

// tell has all nodes do something, and prints what they answer. If some have not done it yet
// that is an error.
func (f *adminFlags) tell(w io.Writer, uri string, asked any, answer receipt) error {
	if err := f.ask(http.MethodPost, uri, asked, answer); err != nil {
		return err
	}
	answer.print(w)
	answer.printOthers(w)
	return answer.incomplete()
}

// printOthers prints which nodes have not done what was asked for.
func (f fleetReceipt) printOthers(w io.Writer) {
	for _, node := range f.Pending {
		fmt.Fprintln(w, "pending", node)
	}
	for _, node := range f.Failed {
		fmt.Fprintln(w, "failed", node)
	}
}
