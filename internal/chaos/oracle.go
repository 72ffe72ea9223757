package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// statusClientGone is what logs show of a client that has left, and it is not to see.
const statusClientGone = 499

// Verdict is what an answer that is not wrong comes to.
type Verdict string

// The verdicts besides "error <status>", for a refusal that says so.
const (
	Right  Verdict = "right"   // all bytes
	Broken Verdict = "broken"  // bytes that were right, until the connection broke
	None   Verdict = "nothing" // no answer, but a connection that broke
	Left   Verdict = "left"    // all that the client has waited for was right
)

// Check judges an answer. An error says what is wrong with it.
func (l *Ledger) Check(a Answer) (Verdict, error) {
	switch {
	case a.late():
		return "", fmt.Errorf("no end within the client's patience: %w", a.Err)
	case a.Status == 0 && a.Left:
		return Left, nil
	case a.Status == 0:
		return None, nil
	}
	if err := a.checkHeader(); err != nil {
		return "", err
	}
	return a.verdict(), l.judge(a)
}

// judge returns what is wrong with an answer whose header may be.
func (l *Ledger) judge(a Answer) error {
	switch {
	case bytes.Contains(a.Body, []byte(Secret)), bytes.Contains(a.Body, []byte(clientSecret)):
		return errors.New("the body has what is not for the client")
	case a.malformed():
		return nil // net/http's own to refuse
	case a.Status == statusClientGone && a.Visit.Manner == "says no more":
		return nil // to a server that could be a client that has left
	case a.refuses():
		return l.checkRefusal(a)
	case a.Visit.Method == http.MethodOptions:
		return nil
	case a.Visit.What == "stream", a.Visit.What == "cover":
		return l.checkAsset(a)
	case a.Visit.What == "nonsense":
		return fmt.Errorf("status %d to nonsense", a.Status)
	default:
		return l.checkReport(a)
	}
}

// refuses reports whether an answer is an error, and not about a condition or a range.
func (a Answer) refuses() bool {
	return a.Status >= 400 && a.Status != http.StatusRequestedRangeNotSatisfiable && a.Status != http.StatusPreconditionFailed
}

func (a Answer) verdict() Verdict {
	switch {
	case a.Status >= 400:
		return Verdict("error " + strconv.Itoa(a.Status))
	case a.Whole:
		return Right
	case a.Left:
		return Left
	}
	return Broken
}

// malformed reports whether the request was no HTTP.
func (a Answer) malformed() bool {
	return strings.HasPrefix(a.Visit.Manner, "has a ") || a.Visit.Manner == "asks without HTTP" || strings.Contains(a.Visit.Target, "%00")
}

// sent are the fields that clients may be sent.
var sent = []string{
	"Accept-Ranges", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin",
	"Access-Control-Expose-Headers", "Access-Control-Max-Age", "Age", "Allow", "Cache-Control", "Cache-Status", "Connection",
	"Content-Length", "Content-Range", "Content-Type", "Cross-Origin-Resource-Policy", "Date", "Etag", "Last-Modified",
	"Retry-After", "Server-Timing", "Timing-Allow-Origin", "Transfer-Encoding", "Vary", "X-Content-Type-Options",
}

func (a Answer) checkHeader() error {
	for name, values := range a.Header {
		text := strings.Join(values, "\n")
		switch {
		case !slices.Contains(sent, name):
			return fmt.Errorf("the client was sent %s: %q", name, values)
		case strings.Contains(text, Secret), strings.Contains(text, clientSecret), strings.Contains(text, "example/"):
			return fmt.Errorf("what is not for the client is in %s: %q", name, values)
		}
	}
	return nil
}

// refusals are the messages of errors, by status.
var refusals = map[int][]string{
	http.StatusBadRequest:       {"Invalid VOYO track ID"},
	http.StatusNotFound:         {"Content not found in VOYO library", "Album art temporarily unavailable"},
	http.StatusMethodNotAllowed: {"Method not allowed"},
	http.StatusBadGateway:       {"VOYO stream temporarily unavailable", "Album art temporarily unavailable"},
	http.StatusGatewayTimeout:   {"VOYO stream temporarily unavailable"},
}

// checkRefusal checks an error: it says so in the form that it should have, and there is
// a reason for it.
func (l *Ledger) checkRefusal(a Answer) error {
	var said struct{ Error string }
	if a.Whole && a.Visit.Method != http.MethodHead {
		if err := json.Unmarshal(a.Body, &said); err != nil || !slices.Contains(refusals[a.Status], said.Error) {
			return fmt.Errorf("status %d says %.200q", a.Status, a.Body)
		}
	}
	if a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Cache-Control") != "no-store" {
		return fmt.Errorf("status %d has the header %v", a.Status, a.Header)
	}
	nonsense := a.Visit.What == "nonsense"
	switch a.Status {
	case http.StatusBadRequest:
		if !nonsense {
			return errors.New("the ID is refused")
		}
	case http.StatusMethodNotAllowed:
		if a.Visit.Method != http.MethodPost {
			return errors.New("the method is refused")
		}
	case http.StatusNotFound:
		return l.checkDenial(a)
	}
	if _, ok := refusals[a.Status]; !ok {
		return fmt.Errorf("status %d", a.Status)
	}
	return nil
}

// checkDenial checks that an upstream has said that something does not exist.
func (l *Ledger) checkDenial(a Answer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range a.Visit.Paths {
		if at, ok := l.denials[path]; ok && !a.Since.at.After(at.Add(l.s.Node.Negative+l.Lag)) {
			return nil
		}
	}
	return errors.New("it is said not to exist, which no upstream has said lately")
}
