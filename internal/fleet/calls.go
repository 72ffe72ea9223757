package fleet

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/voyo-music/caddy-voyo/internal/contain"
)

const (
	// maxAnswers bounds the instances of whose answers a call takes note.
	maxAnswers = 4096

	// pendingReplies and pendingBytes bound what waits for a call to look at it.
	pendingReplies = 8192
	pendingBytes   = 64 << 20
)

// answer is what a node says when it has been called.
type answer struct {
	record

	Node   string          `json:"node"`
	Seq    uint64          `json:"seq,omitempty"`    // of the entry that it is about
	Failed bool            `json:"failed,omitempty"` // it could not be applied, or not be kept
	Done   bool            `json:"done,omitempty"`   // it will not be applied again
	Status json.RawMessage `json:"status,omitempty"`
}

// call waits for answers. Its members are under Log.mu.
type call struct {
	answers map[string][]answer // by instance
	news    chan struct{}       // has one in it after each answer
}

// begin makes a call, and returns how it is to be answered.
func (l *Log) begin() (*call, string) {
	c := &call{answers: make(map[string][]answer), news: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastCall++
	id := strconv.FormatUint(l.lastCall, 36)
	l.calls[id] = c
	return c, l.instance + "." + id
}

// finish ends a call.
func (l *Log) finish(reply string) {
	_, id, _ := strings.Cut(reply, ".")
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.calls, id)
}

// listen has calls of others answered, and answers to this node's own taken note of.
// The subscriptions are as old as the connection, so that all servers of a cluster know
// of them when somebody answers.
func (l *Log) listen(nc *nats.Conn) error {
	replies, err := nc.Subscribe(replySubject+l.instance+".*", l.answered)
	if err != nil {
		return err
	}
	if err := replies.SetPendingLimits(pendingReplies, pendingBytes); err != nil {
		return err
	}
	statuses, err := nc.Subscribe(statusSubject, l.answerStatus)
	if err != nil {
		return err
	}
	return statuses.SetPendingLimits(maxAppends, pendingBytes)
}

// answered takes note of an answer.
func (l *Log) answered(m *nats.Msg) {
	var a answer
	if json.Unmarshal(m.Data, &a) != nil || CheckNode(a.Node) != nil {
		return
	}
	id := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.calls[id]
	if c == nil {
		return
	}
	if of, ok := c.answers[a.Instance]; !ok && len(c.answers) == maxAnswers || len(of) > MaxDrafts {
		return
	}
	c.answers[a.Instance] = append(c.answers[a.Instance], a)
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// reply answers a call. The reply comes from others, so it must be what begin makes.
func (l *Log) reply(to string, a answer) error {
	instance, id, ok := strings.Cut(to, ".")
	if !ok || !trackID.MatchString(instance) || !trackID.MatchString(id) {
		return nil
	}
	a.record = record{l.config.Version, l.instance, l.opened.UTC()}
	a.Node = l.config.Node
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	nc, _, err := l.link()
	if err != nil {
		return err
	}
	return nc.Publish(replySubject+to, data)
}

// answerStatus answers a call for this node's status.
func (l *Log) answerStatus(m *nats.Msg) {
	select {
	case l.serving <- struct{}{}:
		defer func() { <-l.serving }()
	case <-l.ctx.Done():
		return
	}
	var status json.RawMessage
	if l.config.Status != nil {
		err := contain.Do(func() error {
			status = l.config.Status()
			return nil
		})
		if err != nil && l.config.Events.Panicked != nil {
			l.announcing.Lock()
			l.config.Events.Panicked(err)
			l.announcing.Unlock()
		}
	}
	if len(status) > MaxStatus || !json.Valid(status) {
		status = nil
	}
	_ = l.reply(m.Header.Get(replyHeader), answer{Status: status}) // it is named as one that has not answered
}

// gather waits until all nodes have answered enough, or the context is done. It
// returns what the instances of each name have answered, none for those that have not.
func (l *Log) gather(ctx context.Context, c *call, names []string, enough func(instances [][]answer) bool) map[string][][]answer {
	sure := time.NewTimer(sureAfter)
	defer sure.Stop()
	for {
		answers := l.answersTo(c, names)
		var missing []string
		for name, instances := range answers {
			if !enough(instances) {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			return answers
		}
		select {
		case <-c.news:
		case <-sure.C:
			names = l.withoutRemoved(ctx, names, missing)
		case <-ctx.Done():
			return answers
		}
	}
}

// answersTo returns what has been answered so far, by name.
func (l *Log) answersTo(c *call, names []string) map[string][][]answer {
	answers := make(map[string][][]answer, len(names))
	for _, name := range names {
		answers[name] = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range c.answers {
		name := of[0].Node
		answers[name] = append(answers[name], slices.Clone(of))
	}
	return answers
}

// withoutRemoved returns the names without those of some that an operator has removed.
func (l *Log) withoutRemoved(ctx context.Context, names, some []string) []string {
	removed := make(map[string]bool)
	for _, name := range some {
		if m, err := l.lookUp(ctx, name); err == nil && m == nil {
			removed[name] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return removed[name] })
}
